# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What does not fit into the kernel's buffer is counted: what was made, was sent or lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.records import RecordKind
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
