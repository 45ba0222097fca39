"""The recorder keeps out of the way of what it records, unless that makes it late."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.kernel

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
