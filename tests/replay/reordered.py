# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Raw logs in another order that the same sources could have given.

What may be different, and why (mnttrace/capture/session.py, mnttrace/capture/stream/spool.py):

- The reader's time. It looks at the buffers when it gets a processor: what it reads at once may
  come in parts, and what it reads in parts at once (`split`, `join`); all that it got is said
  after each batch (`say_again`), or later (`be_late`), and time passes at any time (`wait`).
- fanotify's queue and the ring buffer are read one after the other, the ring first. So a mount
  event may be read in any batch since it happened, before the record of its call, and even before
  the record of the call before (`hurry`), but never after its call; the queue's own order holds.
- In the ring each thread's records are in order. The records of two threads whose calls were under
  way at the same time may come either way, as a thread can lose the processor before it sends its
  own (`swap`, and `hurry` where kernel hooks send mount events through the ring). Calls on the
  same mount are left as they are: one came before the other, and that is no matter of reading.
- All namespaces may be surveyed once more, with nothing new to be found (`survey`).

Answers stay with the event that asked for them. Each change is made of a number.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec

from mnttrace.capture.join.events import (
    Answer,
    Answered,
    AnyEvent,
    CallEnded,
    CaughtUp,
    MountsChanged,
    NamespaceListed,
    ProcessSeen,
    RoundBegan,
    RoundEnded,
    TableRead,
    TimePassed,
)
from tests.replay.logs import again

Group = list[AnyEvent]  # an event, and the answers to what it asked for
Touched = dict[int, set[int]]  # operation → the mounts that its effects are about, and theirs

_RECORDS = (CallEnded, NamespaceListed, ProcessSeen)


class Order:
    """The events of a log, whose order can be changed.

    Args:
        events: of the log.
        touched: by its operations.
        uses_fanotify: whether mount events come through fanotify's queue.
    """

    def __init__(self, events: list[AnyEvent], touched: Touched, uses_fanotify: bool) -> None:
        self._touched = touched
        self._uses_fanotify = uses_fanotify
        self.groups: list[Group] = []
        for event in events:
            if isinstance(event, Answer | Answered):
                self.groups[-1].append(event)
            else:
                self.groups.append([event])

    def events(self) -> list[AnyEvent]:
        return [again(event) for group in self.groups for event in group]

    def change(self, number: int) -> str:
        """Make one change; its name."""
        random = Random(number)
        changes: list[Callable[[int], bool]] = [
            self.split,
            self.join,
            self.hurry,
            self.hurry,
            self.swap,
            self.swap,
            self.wait,
            self.say_again,
            self.be_late,
            self.survey,
        ]
        change = random.choice(changes)
        first = random.randrange(len(self.groups))
        # The first place from there on where there is something to change.
        for place in (*range(first, len(self.groups)), *range(first)):
            if change(place):
                break
        return change.__name__

    # ---- the reader's time

    def split(self, at: int) -> bool:
        event = self.groups[at][0]
        if not isinstance(event, MountsChanged) or len(event.changes) < 2:
            return False
        some = len(event.changes) // 2
        self.groups[at : at + 1] = [
            [MountsChanged(event.at, event.changes[:some])],
            [MountsChanged(event.at, event.changes[some:])],
        ]
        return True

    def join(self, at: int) -> bool:
        both = [group[0] for group in self.groups[at : at + 2]]
        events = [event for event in both if isinstance(event, MountsChanged)]
        if len(events) < 2:
            return False
        changes = [*events[0].changes, *events[1].changes]
        self.groups[at : at + 2] = [[MountsChanged(events[1].at, changes)]]
        return True

    def wait(self, at: int) -> bool:
        return self._after_batch(at, TimePassed(self.groups[at][0].at))

    def say_again(self, at: int) -> bool:
        return self._after_batch(at, CaughtUp(self.groups[at][0].at))

    def be_late(self, at: int) -> bool:
        if len(self.groups[at]) > 1 or not isinstance(self.groups[at][0], CaughtUp | TimePassed):
            return False
        del self.groups[at]
        return True

    def _after_batch(self, at: int, event: AnyEvent) -> bool:
        if not isinstance(self.groups[at][0], CaughtUp):
            return False
        self.groups.insert(at + 1, [event])
        return True

    # ---- other orders

    def hurry(self, at: int) -> bool:
        event = self.groups[at][0]
        if not isinstance(event, MountsChanged):
            return False
        if self._uses_fanotify:
            return self._into_the_batch_before(at, event)
        before = self.groups[at - 1][0]
        if at == 0 or not isinstance(before, CallEnded) or len(self.groups[at - 1]) > 1:
            return False
        tids = {change.tid for change in event.changes}
        if before.row["tid"] in tids or self._begin(at, tids) >= before.end:
            return False
        self._swap(at - 1)
        return True

    def _into_the_batch_before(self, at: int, event: MountsChanged) -> bool:
        """Of events that were read with a batch, the first ones with the batch before."""
        first = end = at - 1
        if at < 2 or not self._is_alone(end, CaughtUp):
            return False
        while first > 0 and isinstance(self.groups[first - 1][0], _RECORDS):
            first -= 1
        when = self.groups[end][0].at
        some = 0
        while some < len(event.changes) and self._begin(at, {event.changes[some].tid}) <= when:
            some += 1
        if first == end or not some:
            return False
        rest = MountsChanged(event.at, event.changes[some:])
        self.groups[at : at + 1] = [[rest]] if rest.changes else []
        self.groups.insert(first, [MountsChanged(when, event.changes[:some])])
        return True

    def _begin(self, at: int, tids: set[int]) -> int:
        """When the calls of threads began that end next after a place."""
        found = dict.fromkeys(tids, self.groups[at][0].at)
        for group in reversed(self.groups[at:]):
            call = group[0]
            if isinstance(call, CallEnded) and call.row["tid"] in tids:
                found[call.row["tid"]] = call.row["monotonic"]
        return max(found.values())

    def swap(self, at: int) -> bool:
        both = [group[0] for group in self.groups[at : at + 2]]
        if len(both) < 2 or len(self.groups[at]) > 1 or len(self.groups[at + 1]) > 1:
            return False
        one, other = both
        if not isinstance(one, CallEnded) or not isinstance(other, CallEnded):
            return False
        is_free = one.row["tid"] != other.row["tid"] and other.row["monotonic"] < one.end
        if not is_free or self._touched_by(one) & self._touched_by(other):
            return False
        self._swap(at)
        return True

    def _touched_by(self, call: CallEnded) -> set[int]:
        return self._touched.get(call.row["seq"], set())

    def _swap(self, at: int) -> None:
        one, other = self.groups[at][0].at, self.groups[at + 1][0].at
        self.groups[at : at + 2] = [self.groups[at + 1], self.groups[at]]
        for place, when in ((at, one), (at + 1, other)):
            self.groups[place] = [msgspec.structs.replace(self.groups[place][0], at=when)]

    def _is_alone(self, at: int, kind: type) -> bool:
        return len(self.groups[at]) == 1 and isinstance(self.groups[at][0], kind)

    # ---- surveys

    def survey(self, at: int) -> bool:
        """Survey all namespaces before they are surveyed for the last time."""
        begin = next(
            number
            for number, (event, *_) in enumerate(self.groups)
            if isinstance(event, RoundBegan) and event.reason == "end"
        )
        if at > begin or sum(isinstance(group[0], RoundBegan) for group in self.groups) > 20:
            return False
        copied = []
        for group in self.groups[begin:]:
            if isinstance(group[0], RoundBegan | RoundEnded | NamespaceListed):
                new = [again(event) for event in group]
                for event in new:
                    if isinstance(event, RoundBegan | RoundEnded | TableRead):
                        event.reason = "operation"
                copied.append(new)
            if isinstance(group[0], RoundEnded):
                break
        self.groups[begin:begin] = copied
        return True
