# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Records of the kernel that are made up, and what becomes of them."""

from __future__ import annotations

import pytest

from mnttrace.capture.join.events import ProcessSeen
from mnttrace.capture.stream.decode import CALLS_AT_ONCE, Decoder
from mnttrace.probes import records as kernel
from mnttrace.probes.records import BASE_DENTRY, PathRecord, ProcessRecord


def seen(command: bytes, keep_secrets: bool = False) -> ProcessSeen:
    """A process with that command line."""
    fields = dict.fromkeys(ProcessRecord._fields, 0)
    record = fields | {"kind": kernel.RECORD_PROCESS, "comm": b"x", "parent_comm": b"y"}
    event = Decoder(0, keep_secrets).take(kernel.PROCESS_RECORD.pack(*record.values()) + command, 5)
    assert isinstance(event, ProcessSeen)
    return event


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (b"", ()),
        (b"\0\0", ()),
        (b"true\0", ("true",)),
        (b"runc\0--bundle\0/srv/my app\0c1\0", ("runc", "--bundle", "/srv/my app", "c1")),
        (b"a\0\0b\0", ("a", "", "b")),
        (b"a\0\xffb", ("a", "\\xffb")),
    ],
)
def test_the_words_of_a_command_line(command: bytes, argv: tuple[str, ...]) -> None:
    event = seen(command)
    assert event.argv == argv
    assert event.row["command"] == " ".join(argv)


def test_neither_words_nor_text_have_secrets() -> None:
    command = b"mount\0-o\0password=hunter2,ro\0//server/x\0/mnt\0"
    event = seen(command)
    assert event.argv == ("mount", "-o", "password=<redacted>,ro", "//server/x", "/mnt")
    assert event.row["command"] == "mount -o password=<redacted>,ro //server/x /mnt"
    assert "hunter2" in seen(command, keep_secrets=True).row["command"]


def path(tid: int) -> bytes:
    """A part of a thread's call."""
    record = dict.fromkeys(PathRecord._fields, 0)
    record |= {"kind": kernel.RECORD_PATH, "base": BASE_DENTRY, "tid": tid, "entered": 1}
    return kernel.PATH_RECORD.pack(*record.values())


def test_parts_of_calls_whose_end_was_lost_do_not_stay() -> None:
    decoder = Decoder(0)
    for tid in range(CALLS_AT_ONCE + 10):
        decoder.take(path(tid), 0)
        decoder.take(path(3), 0)  # goes on
    assert len(decoder._parts) == CALLS_AT_ONCE
    assert {3, CALLS_AT_ONCE} < decoder._parts.keys()
    assert 0 not in decoder._parts
