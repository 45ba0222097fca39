# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""An event that is lost never leads to a wrong owner.

How much is lost is counted outside of the core (LossesCounted). What the core makes of the rest
may be less, or less sure: another evidence, or an effect of a thread without a call. But what has
the evidence `kernel` has the owner that the whole log gives it.

One thing cannot be told: a call that changed how a mount is set is lost, and a later one could
have changed the same, as remounting read-only twice. The kernel's lists have how a mount is set
after a call, not before it, so the change is the later call's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnttrace.capture.join.events import AnyEvent, CallEnded, MountsChanged
from mnttrace.capture.join.mount_list import MountList
from mnttrace.probes.records import MountEntry
from mnttrace.recording.rows import EffectRow
from tests.replay.logs import NAMES, Rows, load
from tests.replay.test_properties import examples, fewer

Call = tuple[int, int]  # thread, when it began
PART = 3  # mounts that are lost with a part of a list


class Owned(NamedTuple):
    """An effect and whose it is: the call, None if there is none; and its thread."""

    row: EffectRow
    call: Call | None
    tid: int | None

    @property
    def what(self) -> Hashable:
        """What was done to which mount; the options of a file system are no single mount's."""
        if self.row["via"] == "super-block":
            return self.row["via"], self.row["device"]
        return self.row["action"], self.row["mnt_id_unique"]

    @property
    def with_namespace(self) -> Hashable:
        """With which namespace the mount came or went."""
        return self.row["via"], self.row["ns_id"]


def owned(rows: Rows) -> Iterator[Owned]:
    calls = {row["seq"]: row for table, row in rows if table == "operations"}
    for table, row in rows:
        if table == "effects":
            call = calls.get(row["seq"])
            yield Owned(row, (call["tid"], call["monotonic"]) if call else None, row["tid"])


@cache
def owners(name: str) -> dict[Hashable, list[Owned]]:
    found = defaultdict(list)
    for one in owned(load(name).rows()):
        found[one.what].append(one)
        if one.row["via"] in ("namespace-copy", "namespace-death"):
            found[one.with_namespace].append(one)
    return found


@cache
def places(name: str) -> list[tuple[int, int | None]]:
    """What may be lost: an event by its number; one change of several, or some mounts of a call's
    lists, by its number in that."""
    found: list[tuple[int, int | None]] = []
    for number, event in enumerate(load(name).events()):
        found.append((number, None))
        if isinstance(event, MountsChanged) and len(event.changes) > 1:
            found += [(number, one) for one in range(len(event.changes))]
        if isinstance(event, CallEnded):
            found += [(number, one) for one in range(_mounts(event))]
        if isinstance(event, CallEnded | MountsChanged):
            found += [(number, None)] * 5  # most depends on these
    return found


def lose(name: str, place: tuple[int, int | None]) -> tuple[list[AnyEvent], AnyEvent]:
    """The events of a log without one, and that one."""
    events = load(name).events()
    number, change = place
    lost = events[number]
    if change is None:
        del events[number]
    elif isinstance(lost, MountsChanged):
        del lost.changes[change]
    elif isinstance(lost, CallEnded):
        lose_part(lost, change)
    return events, lost


def _mounts(call: CallEnded) -> int:
    return sum(len(found.entries) for found in call.lists)


def lose_part(call: CallEnded, at: int) -> None:
    """Take some mounts out of a call's lists, from one on, as if they had been a part that found no
    room in the ring."""
    left: list[MountList] = []
    for found in call.lists:
        size, entries = len(found.entries), found.entries
        if 0 <= at < size:
            before, behind = entries[:at], entries[at + PART :]
            left.append(_part(found, before, is_first=found.is_first))
            left.append(_part(found, behind, is_first=found.is_first and not before))
        else:
            left.append(found)
        at -= size
    call.lists = [found for found in left if found.entries]
    for found in call.lists:
        found.is_last = False
    call.is_cut = True


def _part(found: MountList, entries: list[MountEntry], is_first: bool) -> MountList:
    return MountList(found.reason, found.ns, found.ns_id, is_first, found.is_last, entries)


def check(name: str, rows: Rows, lost: AnyEvent) -> None:
    whole = owners(name)
    for one in owned(rows):
        if one.row["evidence"] != "kernel":
            continue
        # A mount of which nothing is told otherwise, as no mount table shows it (is_hidden of
        # MountState), came and went with its namespace.
        usual = whole.get(one.what) or whole.get(one.with_namespace, [])
        if one.row["action"] == "change" and isinstance(lost, CallEnded):
            own = (lost.row["tid"], lost.row["monotonic"])
            if own in [other.call for other in usual]:
                continue  # a later call could have changed it, see above
        if one.call is None:
            assert one.tid in [other.tid for other in usual], one
        else:
            assert one.call in [other.call for other in usual], (one, lost)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_lost_leads_to_no_wrong_owner(name: str) -> None:
    @examples(fewer(name, 12))
    @given(st.sampled_from(places(name)))
    def lost(place: tuple[int, int | None]) -> None:
        events, one = lose(name, place)
        check(name, load(name).rows(events), one)

    lost()
