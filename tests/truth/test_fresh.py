# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces that are born a moment before something happens in them, and end a moment later."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from tests.short import IS_SHORT
from tests.truth.busy import LOOPS, saturated
from tests.truth.fresh import BIRTHS, WAYS, rounds

LOAD, STOPPER = (Path(__file__).with_name(name) for name in ("fresh.py", "stopper.py"))
ROUNDS = 10 if IS_SHORT else 50  # of each way with each birth

SCRIPT = f"""
mkdir shared shared-private
mount -t tmpfs folder shared; mkdir shared/place shared/other
mount -t tmpfs --make-private folder shared-private; mkdir shared-private/place
$MNTTRACE record --keep-raw -o run.mnttrace -- python3 {LOAD} "$PWD/shared" {ROUNDS}"""
STARVED = f"""{SCRIPT} &
recorder=$!
until [ -e run.mnttrace/meta.json ]; do sleep 0.02; done
python3 {STOPPER} $recorder 1 >stops
wait $recorder
"""


@pytest.mark.parametrize("loops", LOOPS if IS_SHORT else [*LOOPS, 8])
def test_what_happens_in_a_namespace_at_its_birth_is_told_exactly(
    in_namespace, tmp_path: Path, loops: int
) -> None:
    with saturated(loops):
        in_namespace(SCRIPT, timeout=600)
    _compare(Recording(tmp_path / "run.mnttrace"), is_idle=loops == 0)


def test_it_is_told_exactly_beside_one_that_takes_all_memory(in_namespace, tmp_path: Path) -> None:
    with saturated(0, wants_memory=True):
        in_namespace(SCRIPT, timeout=600)
    _compare(Recording(tmp_path / "run.mnttrace"))


def test_it_is_told_exactly_if_the_recorder_is_stopped_again_and_again(
    in_namespace, tmp_path: Path
) -> None:
    in_namespace(STARVED, timeout=600)
    assert int((tmp_path / "stops").read_text()) > 1
    _compare(Recording(tmp_path / "run.mnttrace"))


def _compare(run: Recording, is_idle: bool = False) -> None:
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    assert not any(losses.values()), losses

    effects = run.effects[run.effects["action"].isin(["attach", "detach", "change"])]
    told = dict(list(effects.groupby(effects["source"].astype("string"))))
    calls = run.operations.set_index("seq")
    main = calls[calls["source"] == f"plain peer {ROUNDS - 1}"]["tid"].iloc[0]
    wrong: Counter[str] = Counter()
    example = None
    for way, birth in rounds():
        for number in range(ROUNDS):
            here = told.get(f"{way} {birth} {number}", effects.head(0))
            if way == "pivoted":
                is_right = _is_pivoted(here, effects, calls)
            else:
                is_right = way != "changed" or _is_changed(here, calls, birth, is_idle)
                is_right &= _is_right(here, calls, way, birth, main)
            if not is_right:
                wrong[f"{way} {birth}"] += 1
                example = here[["source", "action", "via", "evidence", "seq", "tid", "ns_id"]]
    assert not wrong, f"{wrong} of {ROUNDS} each, the last:\n{example}"


def _is_right(here: pd.DataFrame, calls: pd.DataFrame, way: str, birth: str, main: int) -> bool:
    """Whether each mount of a round came by its call, and went by the right one."""
    how, born = WAYS[way], BIRTHS[birth]
    # The recorder keeps a namespace for a moment as it looks: the last one may get a copy, too, and
    # end with it.
    ended = set(here[here["via"] == "namespace-death"]["ns_id"])
    here = here[~here["ns_id"].isin(ended)]
    came, went = (here[here["action"] == action] for action in ("attach", "detach"))
    namespaces = came["ns_id"].nunique()
    is_each = set(came["mnt_id_unique"]) == set(went["mnt_id_unique"])
    is_each &= len(came) == len(went) == how.each * namespaces
    is_each &= namespaces >= (born.inside if how.is_inside else 1 + born.receives)
    is_each &= len(ended) <= 1
    if not is_each or "ambiguous" in set(here["evidence"]) or went["seq"].nunique() != how.calls:
        return False
    ends = calls.loc[sorted(set(went["seq"]))]
    mounts = calls.loc[sorted(set(came["seq"]))]
    return bool(
        set(ends["syscall"]) == {how.ends_by}
        and set(ends["tid"]) == {main}
        and set(mounts["syscall"]) == how.comes_by
        and mounts["tid"].nunique() == 1
        and (mounts["tid"].iloc[0] == main) != how.is_inside
        and mounts.index.max() < ends.index.min()
    )


def _is_changed(here: pd.DataFrame, calls: pd.DataFrame, birth: str, is_idle: bool) -> bool:
    """Whether slaves lost their master as it was made private, and nothing else changed. That they
    did need not be told where the recorder is late: docs/limits.md."""
    some = here[here["action"] == "change"]
    if some["seq"].nunique() != 1 or calls.loc[some["seq"].iloc[0]]["propagation"] != "private":
        return False
    others = here["ns_id"].nunique() - 1 - BIRTHS[birth].receives  # see _is_right()
    slaves = (some["via"] == "slave").sum()
    least = BIRTHS[birth].slaves if is_idle else 0
    is_each = least <= slaves <= BIRTHS[birth].slaves + others
    return bool(is_each and len(some) == 1 + slaves)


def _is_pivoted(here: pd.DataFrame, effects: pd.DataFrame, calls: pd.DataFrame) -> bool:
    """Whether the new root came by its call, and all that was born went by the umount of the old
    root; the new one ends with the namespace."""
    if list(here["via"]) != ["direct", "namespace-death"]:
        return False
    mount = calls.loc[here["seq"].iloc[0]]
    inside = effects[effects["ns_id"] == here["ns_id"].iloc[0]]
    born = inside[inside["via"] == "namespace-copy"]
    went = inside[(inside["action"] == "detach") & (inside["via"] != "namespace-death")]
    if set(went["mnt_id_unique"]) != set(born["mnt_id_unique"]) or went["seq"].nunique() != 1:
        return False
    end = calls.loc[went["seq"].iloc[0]]
    is_exact = set(went["via"]) == {"direct"} and set(went["evidence"]) == {"kernel"}
    return bool(is_exact and end["syscall"] == "umount2" and end["tid"] == mount["tid"])
