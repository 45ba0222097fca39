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
COUNT = 200 if IS_SHORT else 1000
SCRIPT = f"""
mkdir shared shared-private; mount -t tmpfs folder shared; mkdir shared/place
mount -t tmpfs --make-private folder shared-private; mkdir shared-private/place
$MNTTRACE record --keep-raw -o run.mnttrace -- python3 {LOAD} "$PWD/shared" {COUNT} >rates"""


@pytest.mark.parametrize("loops", LOOPS)
def test_each_namespace_and_what_was_mounted_in_it_is_told(
    in_namespace, tmp_path: Path, loops: int
) -> None:
    with saturated(loops):
        in_namespace(SCRIPT, timeout=600)
    print((tmp_path / "rates").read_text())
    run = Recording(tmp_path / "run.mnttrace")
    effects, calls = run.effects, run.operations
    ambiguous = effects[effects["evidence"] == "ambiguous"]
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    assert losses.pop("ambiguous_detaches") == len(ambiguous)
    assert not any(losses.values()), losses

    # Each mount came and went by its calls, in its own namespace and where all began.
    ours = effects[effects["source"].astype("string").str.fullmatch(r"(unshare|clone|both) \d+")]
    told = dict(list(ours.groupby(ours["source"].astype("string"))))
    assert len(told) == 3 * COUNT
    home = ours["ns_id"].mode().iloc[0]
    wrong = [source for source, here in told.items() if not _is_right(here, home)]
    assert not wrong, f"{len(wrong)}, the first:\n{told[wrong[0]].to_string()}"

    # Each namespace was born by its call with all mounts, and all of them ended with it.
    births = calls[calls["syscall"].isin(["unshare", "clone"]) & (calls["error"] == "")]
    births = births[births["comm"].astype("string").str.startswith("python")]
    by_call = Counter(births["syscall"])
    assert by_call == {"unshare": COUNT, "clone": 2 * COUNT}
    copies = effects[effects["seq"].isin(births["seq"]) & (effects["via"] == "namespace-copy")]
    sizes = copies.groupby("seq").size()
    assert len(sizes) == 3 * COUNT
    assert sizes.nunique() == 1
    ends = effects[effects["via"] == "namespace-death"]
    assert set(copies["mnt_id_unique"]) <= set(ends["mnt_id_unique"])
    assert ends["mnt_id_unique"].is_unique


def _is_right(here: pd.DataFrame, home: int) -> bool:
    """Whether a mount came and went by one call each. The recorder keeps a namespace for a moment
    as it looks: such a one gets a copy, too, and may end while the umount is under way."""
    came, went = (here[here["action"] == action] for action in ("attach", "detach"))
    [own] = came[came["via"] == "direct"]["ns_id"]
    is_shared = not str(here["source"].iloc[0]).startswith("both")
    namespaces = {own, home} if is_shared else {own}
    for some in (came, went):
        mine = some[some["ns_id"].isin(namespaces)]
        others = some[~some["ns_id"].isin(namespaces)]
        is_told = len(mine) == len(namespaces) and set(mine["evidence"]) == {"kernel"}
        is_told &= sorted(mine["via"]) == (["direct", "peer"] if is_shared else ["direct"])
        if not is_told or mine["seq"].nunique() != 1 or (len(others) and not is_shared):
            return False
    return set(came["mnt_id_unique"]) == set(went["mnt_id_unique"])
