# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Compiled programs as bytes: what was put in comes out, and what was changed is refused."""

from __future__ import annotations

import struct
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnttrace.probes.compiled import (
    Bundle,
    Damaged,
    Facts,
    FileStamp,
    Function,
    MapSpec,
    Program,
    ProgramSet,
    decode,
    encode,
)

MOVE = struct.pack("=BBhi", 0xBF, 0x61, 0, 0)
MAP = struct.pack("=BBhi", 0x18, 0x11, 0, 7), struct.pack("=BBhi", 0, 0, 0, 0)
# Its second half looks like the first half of another.
NUMBER = struct.pack("=BBhi", 0x18, 0x01, 0, 7), struct.pack("=BBhi", 0x18, 0x11, 0, 9)
CODE = b"".join([MOVE, *MAP, *NUMBER, *MAP, MOVE])
PROGRAM = Program.of("leave", "tracepoint", "", CODE, {7: 1})
FACTS = Facts("x86_64", "6.18.0", "ab", {"TASK_FS": 8}, {"clone_mnt": Function(77, 3)}, True)
MAPS = [MapSpec("traits", 2, 4, 16, 512, 0), MapSpec("events", 27, 0, 0, 4096, 0)]
SET = ProgramSet({"TASK_FS": 8}, MAPS, [PROGRAM])
BUNDLE = Bundle("cd", FACTS, [FileStamp("/lib/libbcc.so", 1, 2)], [SET])


def test_places_of_maps_are_found_and_filled_again() -> None:
    assert PROGRAM.places == {1: 1, 5: 1}
    assert PROGRAM.linked([3, 7]) == CODE
    assert PROGRAM.linked([3, 8]) == CODE.replace(MAP[0], struct.pack("=BBhi", 0x18, 0x11, 0, 8))
    assert MAP[0] not in PROGRAM.code


def test_what_was_put_in_comes_out() -> None:
    assert decode(encode(BUNDLE)) == BUNDLE
    assert decode(encode(BUNDLE)).find({"TASK_FS": 8}) == SET
    assert decode(encode(BUNDLE)).find({"TASK_FS": 8, "MAY_GOTO": 1}) is None


def test_a_changed_byte_is_seen_wherever_it_is() -> None:
    whole = encode(BUNDLE)
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(Damaged):
            decode(bytes(changed))


def test_a_part_is_refused_however_long_it_is() -> None:
    whole = encode(BUNDLE)
    for length in range(len(whole)):
        with pytest.raises(Damaged):
            decode(whole[:length])
    with pytest.raises(Damaged):
        decode(whole + b"\0")


@given(st.binary(max_size=200))
def test_what_is_something_else_is_refused_although_its_digest_is_right(body: bytes) -> None:
    head = encode(BUNDLE)[: -len(msgspec.msgpack.encode(BUNDLE)) - 32]
    with pytest.raises(Damaged):
        decode(head + sha256(body).digest() + body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"places": {8: 1}},  # there is no such instruction
        {"places": {1: 2}},  # nor such a map
        {"code": CODE[:-1]},
        {"code": b""},
        {"kind": "xdp"},
    ],
    ids=str,
)
def test_programs_that_do_not_fit_their_maps_are_refused(wrong: dict[str, object]) -> None:
    program = msgspec.structs.asdict(PROGRAM) | wrong
    sets = [{"definitions": {}, "maps": MAPS, "programs": [program]}]
    body = msgspec.structs.asdict(BUNDLE) | {"sets": sets}
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(body), type=Bundle)
