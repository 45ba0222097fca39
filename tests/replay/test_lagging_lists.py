# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recorder that lags: tables are read at once, and the lists for them come with the calls."""

from __future__ import annotations

from mnttrace.capture.join.events import NamespaceListed
from tests.replay.build import (
    ME,
    MS,
    Core,
    M,
    attached,
    call,
    dentry,
    detached,
    everything,
    listed,
    made,
    table,
)

ROOT = M(1001)
OLD = M(1100, ROOT, "/a", minor=50, source="old")
# It gets the mount id and the device of the other one, when that is gone.
NEW = M(2100, ROOT, "/b", minor=50, source="new")
NAMES = {dentry(ROOT, path): path for path in ("/a", "/b")}


def listed_at(at: int, *mounts: M) -> NamespaceListed:
    event = listed(*mounts)
    event.at = at
    return event


def test_a_list_is_of_the_table_that_was_read_before_it() -> None:
    core = Core()
    core.take(everything([ROOT]))
    core.take(attached(ME, OLD), call("mount", made(OLD), path="/a", seq=5, names=NAMES))
    now = core.now
    core.take(
        table(ROOT, OLD, at=now + 10 * MS),
        table(ROOT, NEW, at=now + 30 * MS),
        listed_at(now + 11 * MS, ROOT, OLD),
        detached(ME, OLD, at=now + 20 * MS),
        call("umount2", path="/a", last_detached=1100, seq=6, at=now + 20 * MS),
        attached(ME, NEW, at=now + 25 * MS),
        call("mount", made(NEW), path="/b", seq=7, names=NAMES, at=now + 25 * MS),
        listed_at(now + 31 * MS, ROOT, NEW),
    )
    found = core.effects("action", "mnt_id_unique", "source", "mountpoint")
    assert [one for one in found if one[1] == OLD.unique] == [
        ("attach", OLD.unique, "old", "/a"),
        ("detach", OLD.unique, "old", "/a"),
    ]
    changes = [(row["change"], row["source"]) for row in core.of("mounts")]
    assert changes[1:] == [("added", "old"), ("removed", "old"), ("added", "new")]


def test_a_list_that_was_lost_does_not_make_the_next_one_its() -> None:
    core = Core()
    core.take(everything([ROOT, OLD]))
    now = core.now
    for number in range(40):
        core.take(table(ROOT, OLD, at=now + number * MS))
    # What two surveys lack in turn has gone.
    for number in (50, 3000):
        at = now + number * MS
        core.take(table(ROOT, at=at), listed_at(at + MS, ROOT))
    assert core.effects("action", "source") == [("detach", "old")]
