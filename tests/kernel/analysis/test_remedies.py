# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is wrong, why, since which call: asked of real recordings, and every remedy carried out.

A remedy is given to a shell as it is printed. Afterwards the mount tables are those that the model
promised: what was to go is gone, and nothing else but what was said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mnttrace.analysis.diagnosis.remedies import Trial
from tests.kernel.analysis.situations import BEFORE, DISK, hold
from tests.kernel.recordings import Record, Recorded
from tests.short import some

# The lines of the way with the number $WAY, of "What to do now".
COMMANDS = """
awk '/^What to do now:/ {on = 1; next} on && /^  or:/ {way++; next} on && !/^    / {on = 0}
    on && way + 0 == '$WAY' {print}' answer >commands
"""
AFTER = f"""
$MNTTRACE why run.mnttrace $PWD/$ASKED >answer
cat /proc/self/mountinfo >host.before; cat /proc/$(cat pid)/mountinfo >holder.before
{COMMANDS}
bash -e commands
cat /proc/self/mountinfo >host; cat /proc/$(cat pid)/mountinfo >holder
"""


class Case(NamedTuple):
    """A situation, and what is to be told of it.

    Attributes:
        before: made before the recording.
        script: recorded.
        asked: the path.
        kind: of the first mount.
        barrier: the kind of what stopped the umount.
        since: `path` and `propagation` of the call since which it did, None if it is none.
        also: mount points of what goes along.
        ways: how many ways there are that can be tried, besides the end of processes.
    """

    before: str
    script: str
    asked: str
    kind: str
    barrier: str | None
    since: tuple[str, str] | None = None
    also: tuple[str, ...] = ()
    ways: int = 2


CASES = {
    "private": Case(
        DISK,
        hold("private") + "umount srv/x",
        "srv/x",
        "held",
        "receives-nothing",
        ("/", "private"),
    ),
    "private-then-slave": Case(
        DISK,
        hold("unchanged", "mount --make-rprivate srv; mount --make-rslave srv") + "umount srv/x",
        "srv/x",
        "held",
        "receives-nothing",
        ("srv", "private"),
    ),
    "parent-private-on-the-host": Case(
        "mount --make-private srv; mount -t tmpfs --make-shared disk srv/x",
        hold("slave") + "umount srv/x",
        "srv/x",
        "held",
        "sends-nothing",
    ),
    "mount-on-it": Case(
        DISK + "mkdir srv/x/sub",
        hold("slave", "mount -t tmpfs own srv/x/sub") + "umount srv/x",
        "srv/x",
        "held",
        "mounts-on-it",
        ("/", "slave"),
        also=("srv/x/sub",),
    ),
    "locked": Case(
        DISK,
        hold("private", options="-U -r") + "umount srv/x",
        "srv/x",
        "held",
        "receives-nothing",
        ("/", "private"),
        ways=1,  # no umount: rmdir
    ),
    "tree": Case(
        DISK + "mkdir srv/x/b; mount -t tmpfs inner srv/x/b",
        hold("private") + "umount -R srv/x",
        "srv/x",
        "held",
        "receives-nothing",
        ("/", "private"),
    ),
    "deep-tree": Case(
        DISK + "cd srv/x; for n in $(seq 9); do mkdir $n; mount -t tmpfs $n $n; cd $n; done; "
        "cd ../../../../../../../../../../..",
        hold("private") + "umount -R srv/x",
        "srv/x",
        "held",
        "receives-nothing",
        ("/", "private"),
    ),
    "covered": Case(
        "mkdir -p srv/a/b; mount -t tmpfs disk srv/a/b",
        hold(
            "private",
            "mount -t tmpfs cover srv/a; mkdir srv/a/b; mount -t tmpfs wanted srv/a/b",
        )
        + "umount srv/a/b",
        "srv/a/b",
        "held",
        "receives-nothing",
        ("/", "private"),
        ways=1,
    ),
}


def parent_of(case: Case, recorded: Recorded) -> int | None:
    """The number of the call that `since` stands for."""
    if case.since is None:
        return None
    path, to = case.since
    wanted = path if path.startswith("/") else f"{recorded.folder}/{path}"
    calls = recorded.rows("operations", syscall="mount", propagation=to, path=wanted)
    return int(calls[0]["seq"])


@pytest.mark.parametrize(
    ("name", "way"),
    some([(name, way) for name, case in CASES.items() for way in range(case.ways)], 2),
)
def test_what_is_held_is_told_with_why_and_every_remedy_takes_it(
    record: Record, tmp_path: Path, name: str, way: int
) -> None:
    case = CASES[name]
    after = AFTER.replace("$WAY", str(way)).replace("$ASKED", case.asked)
    recorded = record(case.script, before=BEFORE + case.before, after=after)
    answer = recorded.run.why(f"{tmp_path}/{case.asked}")
    holder = answer.holders[0]
    assert holder.kind == case.kind
    assert holder.stopped is not None
    assert holder.stopped.barrier.kind == case.barrier
    since = holder.stopped.mount.since
    assert (since and since["seq"]) == parent_of(case, recorded)
    assert answer.remedy is not None
    assert not answer.remedy.left
    trial = [answer.remedy.trial, *answer.remedy.others][way]
    paths = {answer.diagnosis.now.facts[one.id]["mountpoint"] for one in trial.also_gone}
    assert paths == {f"{tmp_path}/{path}" for path in case.also}
    assert_left(recorded, trial, answer.diagnosis, {holder.mount["mount_id"]})


def assert_left(recorded: Recorded, trial: Trial, diagnosis: Any, gone: set[int]) -> None:
    """The mount tables after the commands are those before them, without what was to go."""
    there = diagnosis.now.tables.mounts.keys()
    promised = {one.id for one in outcome_of(diagnosis, trial)}
    assert promised <= there
    ids = {diagnosis.now.facts[one]["mount_id"] for one in promised}
    assert gone <= ids
    for name in ("host", "holder"):
        before, after = recorded.table(f"{name}.before"), recorded.table(name)
        assert {line.mount_id for line in after} == {line.mount_id for line in before} - ids, name


def outcome_of(diagnosis: Any, trial: Trial) -> Any:
    from mnttrace.analysis.diagnosis.commands import outcome

    return outcome(diagnosis.now.tables, trial.commands).gone


RESIDUES: dict[str, tuple[str, str, int]] = {
    # What is made before, what a namespace that shares does, how many mounts it leaves.
    "one": ("", "mount -t tmpfs o srv/x", 1),
    "a tree": ("mkdir srv/a", "mount -t tmpfs o srv/a; mkdir srv/a/b; mount -t tmpfs i srv/a/b", 2),
    "a tree of the host's": (
        "mkdir srv/t srv/c; mount -t tmpfs t srv/t; mkdir srv/t/1; mount -t tmpfs wanted srv/t/1",
        "mount --rbind srv/t srv/c",
        2,
    ),
}


@pytest.mark.parametrize("name", list(RESIDUES))
def test_what_stays_of_a_namespace_is_one_leak_whose_remedy_leaves_nothing(
    record: Record, name: str
) -> None:
    before, script, count = RESIDUES[name]
    after = """
        cat /proc/self/mountinfo >host.before
        $MNTTRACE leaks run.mnttrace >leaks
        told='/^   What to do now:/,/^ *\\(or\\|not\\|To keep.*\\):/'
        sed -n "$told{s/^       //p}" leaks >commands
        bash -e commands
        cat /proc/self/mountinfo >host
    """
    recorded = record(
        f"unshare -m --propagation unchanged sh -ec '{script}'", before=BEFORE + before, after=after
    )
    leaks = recorded.run.leaks
    theirs = leaks[leaks["dst_ns_id"] == recorded.home]
    [row] = theirs.to_dict("records")
    assert (row["kind"], row["mounts"], row["present"]) == ("residue", count, count)
    ids = {int(one) for one in row["mount_ids"].split(",")}
    left = {line.mount_id for line in recorded.table("host")}
    assert left == {line.mount_id for line in recorded.table("host.before")} - ids


def test_each_start_leaves_more_and_all_is_one_leak(record: Record) -> None:
    recorded = record(
        """
        for n in 1 2 3; do unshare -m --propagation unchanged sh -c '
            mount --rbind srv/v media/r; mount --bind srv/k media/r/in'; done
        """,
        before=BEFORE + "mkdir -p srv/v/in srv/k media; mount -t tmpfs --make-private r media\n"
        "mkdir media/r",
        after="""
        cat /proc/self/mountinfo >host.before
        $MNTTRACE leaks run.mnttrace >leaks
        sed -n '/^   What to do now:/,/To keep/{s/^       //p}' leaks >commands
        bash -e commands
        cat /proc/self/mountinfo >host
        """,
    )
    leaks = recorded.run.leaks
    [row] = leaks[leaks["dst_ns_id"] == recorded.home].to_dict("records")
    assert (row["kind"], row["starts"]) == ("residue", 3)
    ids = {int(one) for one in row["mount_ids"].split(",")}
    assert len(ids) == row["present"]
    left = {line.mount_id for line in recorded.table("host")}
    assert left == {line.mount_id for line in recorded.table("host.before")} - ids


def test_a_copy_below_that_is_used_is_told_apart_and_cut_off_first(
    record: Record, tmp_path: Path
) -> None:
    recorded = record(
        """
        sh -c 'echo $$ >pid; exec sleep 1000' <srv/x/y/f &
        until [ -s pid ]; do sleep .02; done
        mount --rbind srv/x srv/x; umount srv/x/y || true
        """,
        before=BEFORE + DISK + "mkdir srv/x/y; mount -t tmpfs i srv/x/y; touch srv/x/y/f",
        after=AFTER.replace("$WAY", "0").replace("$ASKED", "srv/x/y"),
    )
    [refused] = recorded.rows("refusals", error="EBUSY")
    assert refused["reason"].startswith("processes use a copy of it that the umount would take")
    answer = recorded.run.why(f"{tmp_path}/srv/x/y")
    assert answer.remedy is not None
    assert_left(recorded, answer.remedy.trial, answer.diagnosis, set())
    left = [line for line in recorded.table("host") if line.mountpoint == f"{tmp_path}/srv/x/y"]
    assert len(left) == 1
