# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""That no log, whoever made it, makes the core or its reader take memory without bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mnttrace.capture.join import starting
from mnttrace.capture.join.events import LossesCounted
from mnttrace.capture.stream import raw_log
from mnttrace.capture.stream.raw_log import VERSION, Header, RawLog, RawLogWriter
from tests import CHECKOUT
from tests.replay.build import ME, Core, M, attached, call, everything, made
from tests.replay.damaged import written
from tests.replay.logs import load

ROOT, NEW, NEXT = M(1001), M(2002), M(2003)
A, B = (M(one.unique, ROOT, at) for one, at in ((NEW, "/a"), (NEXT, "/b")))


@pytest.mark.parametrize("room", [3, 1000])
def test_the_core_starts_without_what_there_is_no_room_for(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "STARTING_KEPT", room)
    core = Core("walk")
    begin, *lists, end = everything([ROOT])
    core.take(begin, *lists, attached(ME, A), call("mount", made(A), seq=1, path="/a"))
    core.take(end, attached(ME, B), call("mount", made(B), seq=2, path="/b"))
    core.take(LossesCounted(0, {}))
    wanted = [(1, "attach", "direct", "kernel", 2002), (2, "attach", "direct", "kernel", 2003)]
    assert core.effects() == wanted
    assert core.join.losses.get("cut_start", 0) == (room == 3)


def test_what_waits_is_counted_by_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "STARTING_KEPT", 100)
    many = [M(3000 + number, ROOT, f"/{number}") for number in range(99)]
    core = Core("walk")
    core.take(attached(ME, *many))
    assert core.join._starting.is_on
    core.take(attached(ME, A))
    assert not core.join._starting.is_on


PEAK = """
import sys
from pathlib import Path
from mnttrace.capture.rejoin import rejoin
from mnttrace.errors import RecordingError
try:
    rejoin(Path(sys.argv[1]), Path(sys.argv[2]))
except RecordingError as error:
    assert "has no end" in error.message
[peak] = [one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one]
print(peak.split()[1])
"""


def test_a_small_log_that_says_much(tmp_path: Path) -> None:
    changes = ",".join(["[2,1,5]"] * 1000)
    body = f'{{"type":"MountsChanged","at":1,"changes":[{changes}]}}'.encode()
    (tmp_path / "raw.arrows").write_bytes(written([body] * 8000))
    command = [sys.executable, "-c", PEAK, tmp_path / "raw.arrows", tmp_path / "out"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400 << 10  # KiB


def test_a_batch_has_no_more_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for one event alone, which no kernel makes as large."""
    monkeypatch.setattr(raw_log, "_BYTES_AT_ONCE", 5000)
    log = load("6.18-none/removed")
    writer = RawLogWriter(tmp_path, Header(VERSION, log.setting, log.wanted, {}))
    events = log.events()
    for event in events:
        writer.add(event)
    writer.close()
    largest = max(map(len, log.bodies))
    for batch in raw_log.batches(tmp_path / "raw.arrows", raw_log._SCHEMA):
        sizes = [len(body.as_buffer()) for body in batch.column("body")]
        assert sum(sizes) <= 5000 or len(sizes) == 1
        assert sum(sizes) <= max(5000, largest + 1)
    assert len(list(RawLog(tmp_path).events())) == len(events)
