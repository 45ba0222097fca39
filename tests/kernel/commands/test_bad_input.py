# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What bad input gets: a line on stderr, a status of its own, no traceback, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording
from tests.unit.commands.complaints import one_line

RECORD = [sys.executable, "-m", "mnttrace", "record", "-o", "run.mnttrace"]


@pytest.mark.parametrize("cut", [1, 4, 100])
def test_a_truncated_table_names_itself(mnttrace, tmp_path, cut):
    assert mnttrace("record", "-o", "run.mnttrace", "--", "true").returncode == 0
    table = tmp_path / "run.mnttrace" / "mounts.parquet"
    os.truncate(table, table.stat().st_size - cut)
    one_line(mnttrace("tree", "run.mnttrace"), 5, "run.mnttrace", "mounts is damaged")


# Prerequisites that are missing


def test_no_btf(in_namespace):
    done = in_namespace(
        """mkdir empty; mount --bind empty /sys/kernel/btf
        $MNTTRACE record -- true""",
        check=False,
    )
    one_line(done, 4, "/sys/kernel/btf/vmlinux")


@pytest.mark.parametrize(
    ("module", "word"),
    [("raise ImportError('No module named bcc')", "python3-bpfcc"), ("", "PyPI")],
)
def test_no_bcc_or_the_wrong_one(mnttrace, tmp_path, module, word):
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text(module)
    done = mnttrace("record", "--", "true", PYTHONPATH=str(tmp_path))
    one_line(done, 4, "bcc", word)
    assert not (tmp_path / "run.mnttrace").exists()


def test_tracefs_need_not_be_mounted(in_namespace, tmp_path):
    in_namespace(
        """! mountpoint -q /sys/kernel/tracing || umount /sys/kernel/tracing
        ! mountpoint -q /sys/kernel/debug || umount -l /sys/kernel/debug
        cat /proc/self/mountinfo >before
        $MNTTRACE record -o run.mnttrace -- mount -t tmpfs x /mnt
        umount /mnt; cat /proc/self/mountinfo >after"""
    )
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
    assert "mount" in set(Recording(tmp_path / "run.mnttrace").operations["syscall"])


# Outputs and commands


def test_an_output_that_exists_is_kept(mnttrace, tmp_path):
    (tmp_path / "run.mnttrace").mkdir()
    (tmp_path / "run.mnttrace" / "precious").write_text("x")
    one_line(mnttrace("record", "-o", "run.mnttrace", "--", "true"), 6, "exists already", "--force")
    forced = mnttrace("record", "--force", "-o", "run.mnttrace", "--", "true")
    one_line(forced, 6, "not a recording")
    assert (tmp_path / "run.mnttrace" / "precious").exists()


def test_force_replaces_a_recording(mnttrace, tmp_path):
    assert mnttrace("record", "--", "true").returncode == 0
    assert mnttrace("record", "--force", "--", "sh", "-c", "exit 3").returncode == 3
    assert Recording(tmp_path / "run.mnttrace").meta["command"][0] == "sh"


def test_an_output_that_cannot_be_made(mnttrace, tmp_path):
    (tmp_path / "file").write_text("")
    one_line(mnttrace("record", "-o", "file/run.mnttrace", "--", "true"), 6, "file/run.mnttrace")


def test_command_not_found(mnttrace, tmp_path):
    one_line(mnttrace("record", "--", "no-such-command"), 2, "no-such-command", "PATH")
    assert not (tmp_path / "run.mnttrace").exists()


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_commands_status_is_passed_on(mnttrace, script, status):
    assert mnttrace("record", "--", "sh", "-c", script).returncode == status


def test_a_full_disk_keeps_what_was_written(in_namespace, tmp_path):
    done = in_namespace(
        """mkdir small there; mount -t tmpfs -o size=1m small small
        $MNTTRACE record -o small/run.mnttrace -- sh -c '
            mount -t tmpfs x there; umount there
            until grep -q umount2 small/run.mnttrace/operations.arrows; do sleep 0.05; done
            cat /dev/zero >small/filler 2>/dev/null
            for i in $(seq 300); do mount -t tmpfs x there; umount there; done
            touch the-command-was-not-harmed' || status=$?
        cp -r small/run.mnttrace kept; exit $status""",
        check=False,
    )
    one_line(done, 6, "small/run.mnttrace", "No space left", "readable")
    assert (tmp_path / "the-command-was-not-harmed").exists()
    kept = Recording(tmp_path / "kept")
    assert not kept.meta["complete"]
    assert {"mount", "umount2"} <= set(kept.operations["syscall"])


# Ends that are not clean


def recording(tmp_path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A recording that runs, once it has written the mount tables."""
    process = subprocess.Popen([*RECORD, *arguments], cwd=tmp_path, stderr=subprocess.DEVNULL)
    until((tmp_path / "run.mnttrace" / "mounts.arrows").exists)
    return process


def until(is_so, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def rows(tmp_path: Path, table: str) -> int:
    return len(Recording(tmp_path / "run.mnttrace").table(table))


def test_kill_9_keeps_what_was_flushed(mnttrace, tmp_path):
    process = recording(tmp_path)
    subprocess.run(["unshare", "-m", "true"], check=True)
    until(lambda: "namespace-copy" in set(Recording(tmp_path / "run.mnttrace").effects["via"]))
    process.kill()
    process.wait()
    run = Recording(tmp_path / "run.mnttrace")
    assert not run.meta["complete"]
    assert "unshare" in set(run.operations["syscall"])
    done = mnttrace("leaks", "run.mnttrace")
    assert done.returncode == 0
    assert "was not closed" in done.stderr


def test_a_recorder_without_its_copying_process_says_so(mnttrace, tmp_path):
    process = recording(tmp_path)
    subprocess.run(["unshare", "-m", "true"], check=True)
    until(lambda: "namespace-copy" in set(Recording(tmp_path / "run.mnttrace").effects["via"]))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (copier,) = map(int, children)
    os.kill(copier, signal.SIGKILL)
    assert process.wait(30) == 7
    told = mnttrace("leaks", "run.mnttrace")
    assert "was not closed" in told.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly(tmp_path, number):
    process = recording(tmp_path)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert Recording(tmp_path / "run.mnttrace").meta["complete"]


def test_sigterm_is_passed_on_to_the_command(tmp_path):
    script = "trap 'exit 9' TERM; touch ready; while :; do sleep 0.05; done"
    process = recording(tmp_path, "--", "sh", "-c", script)
    until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 9
    assert Recording(tmp_path / "run.mnttrace").meta["complete"]


def test_a_duration_ends_the_recording(mnttrace, tmp_path):
    assert mnttrace("record", "--duration", "0.2").returncode == 0
    assert Recording(tmp_path / "run.mnttrace").meta["complete"]


def test_a_stream_that_was_cut_anywhere_is_read_up_to_there(tmp_path):
    process = recording(tmp_path)
    subprocess.run(["unshare", "-m", "true"], check=True)
    until(lambda: rows(tmp_path, "operations") > 0)
    process.kill()
    process.wait()
    stream = tmp_path / "run.mnttrace" / "operations.arrows"
    whole = rows(tmp_path, "operations")
    size = stream.stat().st_size
    for length in range(size - 1, 0, -size // 40):
        os.truncate(stream, length)
        assert rows(tmp_path, "operations") <= whole
    shutil.rmtree(tmp_path / "run.mnttrace")
