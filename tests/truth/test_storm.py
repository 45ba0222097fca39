# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces are born and end as fast as the machine can."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from tests.short import IS_SHORT
from tests.truth.busy import LOOPS, saturated

LOAD = Path(__file__).with_name("storm.py")
COUNT = 300 if IS_SHORT else 2000
SCRIPT = f"""
mkdir shared; mount -t tmpfs folder shared
mkdir shared/place shared/place0 shared/place{COUNT // 2}
$MNTTRACE record --keep-raw -o run.mnttrace -- python3 {LOAD} "$PWD/shared" {COUNT} >rates"""


@pytest.mark.parametrize("loops", LOOPS)
def test_each_namespace_and_what_was_mounted_in_it_is_told(
    in_namespace, tmp_path: Path, loops: int
) -> None:
    with saturated(loops):
        in_namespace(SCRIPT, timeout=600)
    print((tmp_path / "rates").read_text())
    run = Recording(tmp_path / "run.mnttrace")
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    assert not any(losses.values()), losses
    effects, calls = run.effects, run.operations
    assert "ambiguous" not in set(effects["evidence"])

    # Each mount came and went by its calls, in its own namespace and where all began.
    ours = effects[effects["source"].astype("string").str.fullmatch(r"(unshare|clone) \d+")]
    told = dict(list(ours.groupby(ours["source"].astype("string"))))
    assert len(told) == 2 * COUNT
    home = ours["ns_id"].mode().iloc[0]
    wrong = [source for source, here in told.items() if not _is_right(here, home)]
    assert not wrong, f"{len(wrong)}, the first:\n{told[wrong[0]].to_string()}"

    # Each namespace was born by its call with all mounts, and all of them ended with it.
    births = calls[calls["syscall"].isin(["unshare", "clone"]) & calls["error"].isna()]
    births = births[births["comm"].astype("string") == "python3"]
    by_call = Counter(births["syscall"])
    assert by_call["unshare"] == by_call["clone"] == COUNT
    copies = effects[effects["seq"].isin(births["seq"]) & (effects["via"] == "namespace-copy")]
    sizes = copies.groupby("seq").size()
    assert len(sizes) == 2 * COUNT
    assert sizes.nunique() == 1
    ends = effects[effects["via"] == "namespace-death"]
    assert set(copies["mnt_id_unique"]) <= set(ends["mnt_id_unique"])
    assert ends["mnt_id_unique"].is_unique


def _is_right(here: pd.DataFrame, home: int) -> bool:
    came, went = (here[here["action"] == action] for action in ("attach", "detach"))
    namespaces = set(came["ns_id"])
    return bool(
        len(here) == len(came) + len(went)
        and len(came) == len(went) == len(namespaces)
        and set(went["ns_id"]) == namespaces
        # The recorder keeps a namespace for a moment as it looks: that one gets a copy, too.
        and len(namespaces) >= 2
        and home in namespaces
        and came["seq"].nunique() == went["seq"].nunique() == 1
        and sorted(set(came["via"])) == sorted(set(went["via"])) == ["direct", "peer"]
        and (came["via"] == "direct").sum() == 1
    )
