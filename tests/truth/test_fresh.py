# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces that are born a moment before something happens in them, and end a moment later."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from tests.truth.fresh import BIRTHS, WAYS

LOAD = Path(__file__).with_name("fresh.py")
ROUNDS = 50
# At normal priority, as a program that is compiled.
BUSY = "while :; do :; done"

SCRIPT = f"""
mkdir shared shared-private
mount -t tmpfs folder shared; mkdir shared/place shared/other
mount -t tmpfs --make-private folder shared-private; mkdir shared-private/place
$MNTTRACE record --keep-raw -o run.mnttrace -- \
    python3 {LOAD} "$PWD/shared" {ROUNDS} {{way}} {{birth}}
"""


@contextlib.contextmanager
def saturated(loops: int) -> Iterator[None]:
    """So many busy loops run meanwhile."""
    running = [subprocess.Popen(["sh", "-c", BUSY]) for _ in range(loops)]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()


@pytest.mark.parametrize("loops", [0, 4])
@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("way", WAYS)
def test_what_happens_in_a_namespace_at_its_birth_is_told_exactly(
    in_namespace, tmp_path: Path, way: str, birth: str, loops: int
) -> None:
    with saturated(loops):
        in_namespace(SCRIPT.format(way=way, birth=birth), timeout=240)
    _compare(Recording(tmp_path / "run.mnttrace"), way, birth)


def _compare(run: Recording, way: str, birth: str) -> None:
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    assert not any(losses.values()), losses
    calls = run.operations
    calls = calls[(calls["result"] == 0) & calls["syscall"].isin(["mount", "umount2"])]
    ours = calls[calls["tid"] == calls[calls["source"] == "round-0"]["tid"].iloc[0]]
    umounts = ours[ours["syscall"] == "umount2"]["seq"].tolist()
    assert len(umounts) == ROUNDS
    effects = run.effects[run.effects["source"].str.startswith("round-", na=False)]
    effects = effects[effects["action"].isin(["attach", "detach"])]
    told = _by_round(effects)
    receives = BIRTHS[birth].receives
    wrong = []
    for number, umount in enumerate(umounts):
        source = f"round-{number}"
        mounts = ours[ours["source"] == source]["seq"].tolist()
        here = told.get(source, pd.DataFrame(columns=effects.columns))
        came, went = (here[here["action"] == action] for action in ("attach", "detach"))
        expected = WAYS[way].each * (1 + receives)
        is_right = (
            len(came) == len(went) == expected
            and set(came["mnt_id_unique"]) == set(went["mnt_id_unique"])
            and set(went["seq"]) == {umount}
            and set(came["seq"]) <= set(mounts)
            and "ambiguous" not in set(here["evidence"])
        )
        if not is_right:
            wrong.append(here[["action", "via", "evidence", "seq", "ns_id", "mnt_id_unique"]])
    assert not wrong, f"{len(wrong)} of {ROUNDS}:\n{wrong[0]}"


def _by_round(effects: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(source): rows for source, rows in effects.groupby("source", observed=True)}
