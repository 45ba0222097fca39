# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Trees that move at full speed, also while the recorder starts: paths are right from then on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from tests import CHECKOUT
from tests.short import IS_SHORT
from tests.truth.busy import LOOPS, saturated
from tests.truth.moving import WAYS, rounds

SECONDS = 1 if IS_SHORT else 3

Effect = tuple[str, str, str]  # call, action, via

SCRIPT = f"""
mkdir base; mount -t tmpfs --make-private base base
mkdir base/here base/there base/old; mount -t tmpfs --make-shared here base/here
mkdir base/here/x; mount -t tmpfs x base/here/x; mkdir base/here/x/in
mkfifo end; exec 3<>end
PYTHONPATH={CHECKOUT} python3 -m tests.truth.moving "$PWD/base" <end >goes-on &
load=$!
until [ -s goes-on ]; do sleep 0.02; done
$MNTTRACE record --keep-raw -o run.mnttrace --duration {SECONDS}
echo >&3; wait $load
"""


@pytest.mark.parametrize("loops", LOOPS)
def test_what_comes_into_a_tree_that_moved_has_its_path(
    in_namespace, tmp_path: Path, loops: int
) -> None:
    with saturated(loops):
        in_namespace(SCRIPT, timeout=300)
    run = Recording(tmp_path / "run.mnttrace")
    # A call may have been under way as it began.
    lost = {kind for kind, n in run.meta["losses"].items() if n and not kind.startswith("sent")}
    assert lost <= {"torn_operation"}
    effects = run.effects
    ours = effects[effects["source"].str.fullmatch(r"\w+ \w+ \d+", na=False)]
    ours = ours[ours["action"].isin(["attach", "detach"])]
    ours = ours[_are_of_their_round(ours, run.operations)]
    ours = ours[ours["source"] != ours["source"].iloc[-1]]  # that one may be half over
    # A later list can be what shows that a copy went with its umount.
    assert set(ours["evidence"]) <= {"kernel", "snapshot"}
    # Of a namespace that ended before the first lists the parents are not known.
    begun = run.snapshots[run.snapshots["reason"] == "start"]["ended"].max()
    folder = f"{tmp_path}/base"
    wrong: Counter[tuple[str, ...]] = Counter()
    for row in ours.itertuples():
        way, birth, _ = row.source.split(" ")
        place = WAYS[way][1] if row.via in ("peer", "slave") else "{folder}/here/x/in"
        is_unknown = row.monotonic < begun and pd.isna(row.parent_path)
        if row.mountpoint != place.format(folder=folder) and not is_unknown:
            wrong[way, birth, row.action, row.mountpoint] += 1
    assert not wrong

    mounts = run.operations[run.operations["source"].isin(ours["source"])]
    sources = mounts[mounts["monotonic"] > begun]["source"]
    assert {source.rpartition(" ")[0] for source in sources} == {" ".join(one) for one in rounds()}
    calls = run.operations.set_index("seq")["syscall"]
    ours = ours[ours["source"].isin(sources)]
    told: dict[str, list[Effect]] = {source: [] for source in sources}
    for row in ours.itertuples():
        call = "" if pd.isna(row.seq) else str(calls[row.seq])
        told[row.source].append((call, row.action, row.via))
    assert ours.groupby("source")["seq"].nunique().eq(2).all(), "of other calls than its two"
    assert {source: one for source, one in told.items() if not _is_whole(source, one)} == {}
    _compare_tables(run, ours[ours["source"].isin(sources[-30:])])


def _are_of_their_round(effects: pd.DataFrame, calls: pd.DataFrame) -> np.ndarray:
    """Which effects are outside, or in the namespace that was born last: the recorder can keep that
    of the round before for a moment, as it looks, so that it gets a copy, too."""
    births = calls[calls["syscall"] == "unshare"]
    last = births["seq"].searchsorted(effects["seq"]) - 1
    born = births["ns_target_id"].to_numpy()[last]
    return (effects["via"] == "direct").to_numpy() | (effects["ns_id"].to_numpy() == born)


def _is_whole(source: str, told: list[Effect]) -> bool:
    """Whether a mount came to both namespaces with its call, and went from both with a umount."""
    via = "peer" if source.split(" ")[1] == "peer" else "slave"
    both = [("mount", "attach"), ("umount2", "detach")]
    return sorted(told) == sorted((*one, by) for one in both for by in ("direct", via))


def _compare_tables(run: Recording, effects: pd.DataFrame) -> None:
    """The tables at the time of a mount have each mount of the tree where it is."""
    calls = run.operations.set_index("seq")
    for row in effects[effects["action"].eq("attach") & effects["via"].ne("direct")].itertuples():
        end = calls.loc[row.seq]
        at = end["ts"] + pd.Timedelta(int(end["latency"]), "ns")
        tables = run.at(at)
        here = tables[tables["ns_id"] == row.ns_id].set_index("mnt_id_unique")["mountpoint"]
        assert here[row.mnt_id_unique] == row.mountpoint
        assert here[row.parent_unique] == row.parent_path
