# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The recorder keeps out of the way of what it records, unless that makes it late."""

from __future__ import annotations

import os
import subprocess
import time

from mnttrace.capture.stream.spool import Spool
from mnttrace.probes.kernel import KernelProbes

# Each loop waits for the recorder to be as it should be.
SCRIPT = f"""
policy() {{ sed 's/.*) //' /proc/$1/stat | cut -d' ' -f39; }}
mkdir one
until [ "$(policy $PPID)" = {os.SCHED_IDLE} ]; do sleep 0.01; done
policy $$ >ours
policy $(pgrep -P $PPID -f 'mnttrace record') >copier
kill -STOP $PPID
mount -t tmpfs one one
until [ "$(policy $PPID)" = {os.SCHED_OTHER} ]; do sleep 0.01; done
kill -CONT $PPID
until [ "$(policy $PPID)" = {os.SCHED_IDLE} ]; do sleep 0.01; done
umount one
"""


def test_the_recorder_competes_for_processors_only_while_it_is_late(record, tmp_path) -> None:
    recorded = record(SCRIPT)
    for name in ("ours", "copier"):
        assert int((tmp_path / name).read_text()) == os.SCHED_OTHER, name
    calls = recorded.frame("operations")
    ours = calls[calls["target"].str.endswith("one")]
    assert list(ours["syscall"]) == ["mount", "umount2"]
    assert not recorded.run.meta["losses"]["lost_bytes"]


def test_what_was_taken_and_is_not_done_with_waits_too(tmp_path) -> None:
    probes = KernelProbes(ring_bytes=1 << 16)
    probes.complete()
    spool = Spool(probes.ring, None, tmp_path)
    try:
        spool.give_way(True)
        until_policy(os.SCHED_IDLE)
        subprocess.run(["unshare", "--mount", "true"], check=True)
        while not spool.next(0.01):
            pass
        # What was taken last is being joined, for as long as nobody asks for more.
        until_policy(os.SCHED_OTHER)
        while spool.next(0.05):
            pass
        until_policy(os.SCHED_IDLE)
    finally:
        spool.close()
        probes.close()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def until_policy(policy: int) -> None:
    end = time.monotonic() + 10
    while os.sched_getscheduler(0) != policy:
        assert time.monotonic() < end, f"not {policy}"
        time.sleep(0.01)
