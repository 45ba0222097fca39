# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The raw logs in tests/replay/logs, and what the core makes of them and of what is like them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from mnttrace.capture.join.events import AnyEvent
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.stream.raw_log import RawLog
from mnttrace.recording.rows import Row

FOLDER = Path(__file__).with_name("logs")
PATHS = sorted(FOLDER.rglob("*.arrows"))
NAMES = [str(path.relative_to(FOLDER).with_suffix("")) for path in PATHS]

Rows = list[tuple[str, Row]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyEvent).decode


class Log(NamedTuple):
    """A raw log: what it was made with, and its events as JSON, since the core may change what it
    is given."""

    setting: Setting
    wanted: Filter
    bodies: list[bytes]

    def events(self) -> list[AnyEvent]:
        """Its events, made anew."""
        return [_decode(body) for body in self.bodies]

    def rows(self, events: Iterable[AnyEvent] | None = None) -> Rows:
        """The rows that its events give, or other events in their place."""
        join = Join(self.setting, self.wanted)
        rows: Rows = []
        for event in self.events() if events is None else events:
            rows += join.take(event).rows
        return [*rows, *join.finish().rows]


@cache
def load(name: str) -> Log:
    """The log of that name."""
    log = RawLog(FOLDER / f"{name}.arrows")
    return Log(log.header.setting, log.header.wanted, [_encode(event) for event in log.events()])


def again(event: AnyEvent) -> AnyEvent:
    """An event that is equal to another one."""
    return _decode(_encode(event))
