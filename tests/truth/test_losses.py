# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What does not fit into the kernel's buffer is counted: what was made, was sent or lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.records import (
    ENTRIES,
    LIST_AFTER,
    LIST_SURVEY,
    RECORD_MOUNTS,
    RECORD_OPERATION,
    MountsRecord,
    OperationRecord,
    RecordKind,
)
from mnttrace.probes.ring import records

# Two calls for the beginning, and two for each round.
STORM = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
calls = [libc.unshare(0x20000), libc.mount(b"none", b"/", None, 0x44000, None)]
for _ in range(int(sys.argv[1])):
    calls += [libc.mount(b"storm", b"/mnt", b"tmpfs", 0, None), libc.umount2(b"/mnt", 0)]
assert not any(calls), ctypes.get_errno()
"""


# Processes that end as soon as their only call has.
BIRTHS = """
import ctypes, os
libc = ctypes.CDLL(None)
while True:
    if not (pid := os.fork()):
        libc.unshare(0x20000)
        os._exit(0)
    os.waitpid(pid, 0)
"""


# More mounts than a small buffer has room for; what is left over for the last part of their list
# does find room. Then a call after which all are listed.
MANY = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
calls = [libc.unshare(0x20000), libc.mount(b"none", b"/", None, 0x44000, None)]
calls += [libc.mount(b"many", b"/mnt", b"tmpfs", 0, None)]
there = len(open("/proc/self/mountinfo").readlines())
for number in range(there, int(sys.argv[1])):
    os.mkdir(f"/mnt/{number}")
    calls += [libc.mount(b"/mnt", f"/mnt/{number}".encode(), None, 0x1000, None)]
print("made", flush=True)
sys.stdin.readline()
calls += [libc.mount(b"none", b"/", None, 0x104000, None)]
assert not any(calls), ctypes.get_errno()
print("changed", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("rounds", [3, 300, 3000])
def test_nobody_reads_a_small_buffer(rounds: int) -> None:
    probes = KernelProbes(ring_bytes=1 << 16)
    try:
        subprocess.run([sys.executable, "-c", STORM, str(rounds)], check=True)
        told = probes.losses()
        came = list(records(probes.ring.read()))
    finally:
        probes.close()
    assert told["sent_operation"] + told["lost_operation"] == 2 + 2 * rounds
    # Each mount lists itself, as does the change of all.
    assert told["sent_mounts"] + told["lost_mounts"] >= 1 + rounds
    kinds = [record[0] for record in came]
    for kind in ("operation", "mounts", "path", "process"):
        assert kinds.count(RecordKind[kind.upper()]) == told[f"sent_{kind}"]
    assert (told["lost_operation"] > 0) == (rounds > 3)


def lists(came: list[bytes], why: int, tid: int) -> list[MountsRecord]:
    found = [MountsRecord.unpack(raw) for raw in came if raw[0] == RECORD_MOUNTS]
    return [record for record in found if (record.why, record.tid) == (why, tid)]


def test_a_list_of_which_a_part_was_lost_is_not_said_to_be_whole() -> None:
    probes = KernelProbes(ring_bytes=1 << 16)
    try:
        if not probes.can_walk:
            pytest.skip("this kernel's mounts are not walked over")
        with subprocess.Popen(
            [sys.executable, "-c", MANY, str(11 * ENTRIES + 3)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as many:
            assert many.stdin
            assert many.stdout
            assert many.stdout.readline() == "made\n"
            probes.ring.read()
            many.stdin.write("\n")
            many.stdin.flush()
            assert many.stdout.readline() == "changed\n"
            after = list(records(probes.ring.read()))
            assert probes.survey(f"/proc/{many.pid}/ns/mnt")
            surveyed = list(records(probes.ring.read()))
            many.communicate("\n")
        assert many.returncode == 0
    finally:
        probes.close()
    own = lists(surveyed, LIST_SURVEY, os.getpid())
    for found in (lists(after, LIST_AFTER, many.pid), own):
        assert found[0].first
        assert found[-1].entry_count < ENTRIES  # the end did come
        assert not any(record.last for record in found)
    calls = [OperationRecord.unpack(raw) for raw in after if raw[0] == RECORD_OPERATION]
    assert [call.walk_cut for call in calls if call.pid == many.pid] == [1]


def test_calls_that_end_while_their_ends_are_looked_for_are_not_lost() -> None:
    probes = KernelProbes()
    births = subprocess.Popen([sys.executable, "-c", BIRTHS])
    try:
        found = [probes.unended() for _ in range(20000)]
    finally:
        births.kill()
        births.wait()
        probes.close()
    assert sum(found) == 0
