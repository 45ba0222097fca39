# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recording mount tables alone, as where there is neither BTF nor root."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import mnttrace as library

# Root in name only; the one capability is what the kernel wants of who maps root (5.12).
UNPRIVILEGED = "setpriv --bounding-set=-all,+setfcap --inh-caps=-all"

# Each step waits until the recorder has written what it saw.
WRITTEN = """
size() { stat -c %s run.mnttrace/mounts.arrows; }
seen() { was=$(size); "$@"; until [ $(size) -gt $was ]; do sleep 0.02; done; }
"""
SCRIPT = f"""{WRITTEN}
mkdir one two; mount -t tmpfs --make-shared one one; mkdir one/in
unshare -m --propagation slave sh -c 'touch ready; exec sleep 1000' & other=$!
until [ -e ready ]; do sleep 0.02; done
until [ $(size) -gt 0 ]; do sleep 0.02; done
seen mount -t tmpfs settled two
seen mount -t tmpfs copied one/in
seen umount one/in
kill $other
"""


def test_what_came_and_went_is_told_without_a_cause(record, mnttrace) -> None:
    recorded = record(SCRIPT, options="--backend none")
    assert "only mount tables are recorded: not who mounted what" in recorded.output
    run = recorded.run
    assert run.operations.empty
    effects = run.effects[run.effects["source"] == "copied"]
    assert sorted(zip(effects["action"], effects["evidence"], strict=True)) == [
        ("attach", "snapshot"),
        ("attach", "snapshot"),
        ("detach", "snapshot"),
        ("detach", "snapshot"),
    ]
    assert effects["seq"].isna().all()
    assert effects["ns_id"].nunique() == 2
    said = mnttrace("info", "run.mnttrace").stderr
    assert "only mount tables were recorded" in said
    assert "calls were not recorded" in mnttrace("leaks", "run.mnttrace").stdout
    assert mnttrace("leaks", "run.mnttrace", "--fail-on", "any").returncode == 5


@pytest.mark.kernel("setpriv")
def test_no_privileges_are_needed(in_namespace, tmp_path: Path) -> None:
    """By a user with no capability, in a user namespace of its own, as in CI and containers."""
    (tmp_path / "script").write_text(f"{WRITTEN}\nseen mount -t tmpfs mine here\n")
    in_namespace(
        f"""
        mkdir here
        {UNPRIVILEGED} unshare --user --map-root-user --mount \
            {sys.executable} -m mnttrace record --backend none -o run.mnttrace -- sh -e script
        """
    )
    run = library.load(tmp_path / "run.mnttrace")
    mine = run.effects[run.effects["source"] == "mine"]
    assert (mine["action"].iloc[0], mine["mountpoint"].iloc[0]) == ("attach", f"{tmp_path}/here")
    meta = json.loads((tmp_path / "run.mnttrace/meta.json").read_text())
    assert (meta["backend"], meta["traced"]) == ("none", [])
