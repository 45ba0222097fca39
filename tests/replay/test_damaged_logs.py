# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What `mnttrace rejoin` makes of raw logs that are cut, damaged, forged, or none: one line and the
status of a recording that cannot be read; and what can be given, in a recording that can be read.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnttrace.capture.rejoin import rejoin
from mnttrace.capture.stream.raw_log import _SCHEMA
from mnttrace.errors import RecordingError
from tests import CHECKOUT
from tests.replay.damaged import NAME, WHOLE, give, header, plain, written
from tests.replay.logs import load
from tests.replay.mutated import MISTAKES, mutate
from tests.replay.test_properties import examples

NUMBERS = st.integers(0, (1 << 32) - 1)


def test_a_whole_log_gives_all() -> None:
    assert give(WHOLE) == give(plain()) == ""


@examples(60)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_log(size: int) -> None:
    assert "raw.arrows" in give(WHOLE[:size])


def test_a_log_that_is_cut_between_batches() -> None:
    end = b"\xff\xff\xff\xff\0\0\0\0"
    assert plain().endswith(end)
    assert give(plain()[: -len(end)]) == ""  # all batches, and LossesCounted in the last one
    half = written(list(load(NAME).bodies[:-1]), None)
    assert "has no end" in give(half)
    assert "has no end" in give(half[: -len(end)])


@pytest.mark.parametrize("log", [WHOLE, plain()], ids=["compressed", "plain"])
def test_a_log_with_other_bytes(log: bytes) -> None:
    @examples(60)
    @given(st.lists(st.tuples(NUMBERS, st.binary(min_size=1, max_size=9)), min_size=1, max_size=8))
    def damaged(changes: list[tuple[int, bytes]]) -> None:
        made = bytearray(log)
        for number, new in changes:
            at = number % len(made)
            made[at : at + len(new)] = new
        give(bytes(made))

    damaged()


@examples(60)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=3))
def test_a_log_with_other_descriptions(at: int, new: bytes) -> None:
    """The schema and what describes the first batch come first."""
    made = bytearray(plain())
    made[at : at + len(new)] = new
    give(bytes(made))


@examples(40)
@given(MISTAKES)
def test_a_log_with_numbers_that_none_can_be(numbers: list[int]) -> None:
    give(written(list(mutate(load(NAME).bodies, numbers))))


ODD: list[bytes | None] = [
    None,
    b"",
    b"null",
    b"{}",
    b"[" * 100_000,
    b'{"type":"CaughtUp","at":' + b"9" * 5000 + b"}",
    b'{"type":"CaughtUp","at":1e400}',
    b'{"type":"CaughtUp","at":-1}',
    b'{"type":"CaughtUp\\n\\u001b[31m","at":1}',
    b'{"type":"CaughtUp","at":1,"x":' + b"[" * 100_000 + b"}",
    b'{"type":"CaughtUp\xff","at":1}',
    b'{"type":"LossesCounted","at":1,"losses":{"x":-5}}',
    b'{"type":"LossesCounted","at":9223372036854775807,"losses":{"x":18446744073709551615}}',
    b'{"type":"ProcessSeen","at":1,"row":{}}',
]


@examples(60)
@given(st.sampled_from(ODD) | st.binary(max_size=40), NUMBERS)
def test_a_log_with_an_odd_event(body: bytes | None, number: int) -> None:
    bodies: list[bytes | None] = [*load(NAME).bodies]
    bodies[number % len(bodies)] = body
    give(written(bodies))


@pytest.mark.parametrize("body", ODD, ids=lambda body: str(body)[:40])
def test_a_log_with_each_odd_event_at_its_end(body: bytes | None) -> None:
    give(written([*load(NAME).bodies[:-1], body]))


# ---- what it begins with


def test_another_version() -> None:
    meta = {**header()["meta"], "mnttrace": "9.1\n\x1b[31m"}
    said = give(written([], metadata=header() | {"version": 99, "meta": meta}))
    assert "has version 99" in said
    assert "use mnttrace 9.1??[31m" in said


@pytest.mark.parametrize(
    "metadata",
    [
        1,
        None,
        [],
        {"version": "1"},
        {"version": -1},
        {"setting": {}},
        {"setting": {"wall_offset": "x"}},
        {"wanted": {"namespaces": 5}},
        {"meta": None},
        {"meta": {}},
    ],
    ids=str,
)
def test_other_metadata(metadata: Any) -> None:
    if isinstance(metadata, dict):
        metadata = header() | metadata
    assert give(written([], metadata=msgspec.Raw(msgspec.json.encode(metadata))))


@pytest.mark.parametrize(
    "meta",
    [{"started": 1 << 64}, {"host": 1}, {"command": "x"}, {"sees": []}, {"filters": 1}],
    ids=str,
)
def test_other_meta(meta: dict[str, Any]) -> None:
    said = give(written([], metadata=header() | {"meta": header()["meta"] | meta}))
    assert "is no recording's" in said


def test_no_metadata() -> None:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, _SCHEMA).close()
    assert "has no b'mnttrace'" in give(bytes(sink.getvalue()))


def test_metadata_that_nest_without_end() -> None:
    raw = msgspec.Raw(b'{"version":1,"meta":' + b"[" * 200_000)
    assert "is not a raw log" in give(written([], metadata=raw))


def test_metadata_do_not_say_what_the_recording_is() -> None:
    meta = {**header()["meta"], "format": 99, "complete": True, "losses": {}, "stopped": 5}
    cut = list(load(NAME).bodies[:40])
    assert "has no end" in give(written(cut, metadata=header() | {"meta": meta}))


# ---- what is none


@pytest.mark.parametrize("log", [b"", b"\0" * 4096, b"text\n", b"\xff" * 64, b"PAR1" * 9])
def test_no_log_at_all(log: bytes) -> None:
    assert "is not a raw log" in give(log)


def test_another_table() -> None:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([("at", pa.int64())])).close()
    assert "it has other columns" in give(bytes(sink.getvalue()))


def _circle(path: Path) -> None:
    path.symlink_to(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, _circle, _device])
@pytest.mark.parametrize("is_inside", [False, True], ids=["itself", "in a recording"])
def test_in_place_of_a_file(
    make: Callable[[Path], object], is_inside: bool, tmp_path: Path
) -> None:
    run = tmp_path / "run.mnttrace"
    run.mkdir()
    make(run / "raw.arrows")
    with pytest.raises(RecordingError):
        rejoin(run if is_inside else run / "raw.arrows", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- sizes


def declared(log: bytes, old: bytes, new: bytes) -> bytes:
    """A log that says another size of itself, each time that it says one."""
    assert old in log
    return log.replace(old, new)


def test_a_batch_that_says_it_is_larger_than_the_file() -> None:
    log = plain()
    stream = pa.ipc.MessageReader.open_stream(log)
    stream.read_next_message()
    size = struct.pack("<q", stream.read_next_message().body.size)
    before = pa.default_memory_pool().max_memory()
    assert "is damaged after 0 events" in give(declared(log, size, struct.pack("<q", 1 << 33)))
    assert pa.default_memory_pool().max_memory() - before < 1 << 28


@pytest.mark.parametrize("size", [1 << 31, 1 << 40, (1 << 63) - 1])
def test_a_batch_that_says_it_is_larger_than_it_becomes(size: int) -> None:
    bodies = list(load(NAME).bodies)
    text = struct.pack("<q", sum(map(len, bodies[: len(bodies) // 2])))
    said = give(declared(written([*bodies]), text, struct.pack("<q", size)))
    assert "bytes is more than any has" in said


# ---- the command


@pytest.mark.parametrize(("log", "status"), [(WHOLE, 0), (WHOLE[:5000], 5), (b"no log", 5)])
def test_the_command_says_it_in_one_line(log: bytes, status: int, tmp_path: Path) -> None:
    (tmp_path / "raw.arrows").write_bytes(log)
    done = subprocess.run(
        [sys.executable, "-m", "mnttrace", "rejoin", tmp_path / "raw.arrows", "-o", tmp_path / "o"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    [line] = done.stderr.splitlines()
    assert line.startswith("mnttrace: ")
