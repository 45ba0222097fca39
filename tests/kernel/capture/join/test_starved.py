# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A thread that gets no processor in the middle of a umount: what it detached is that call's."""

from __future__ import annotations

from pathlib import Path

from mnttrace.analysis.recording import Recording

# Mounts and unmounts on a processor that a real-time process leaves to others for 50 ms a second
# (sched(7), sched_rt_runtime_us), until some calls took longer than what waits for one is kept
# without asking.
STARVED = """
import ctypes, os, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
hog = subprocess.Popen([sys.executable, "-c", "import os, time\\nos.sched_setscheduler(0,"
    "os.SCHED_FIFO, os.sched_param(50))\\nend = time.monotonic() + 20\\n"
    "while time.monotonic() < end: pass"])
slow, end = 0, time.monotonic() + 20
while slow < 3 and time.monotonic() < end:
    if libc.mount(b"starved", b"shared/x", b"tmpfs", 0, None):
        sys.exit(os.strerror(ctypes.get_errno()))
    begun = time.monotonic()
    if libc.umount2(b"shared/x", 0):
        sys.exit(os.strerror(ctypes.get_errno()))
    slow += time.monotonic() - begun > 0.6
hog.kill()
sys.exit(slow < 3)
"""


def test_what_a_slow_umount_took_is_not_told_as_nobodys(in_namespace, tmp_path: Path) -> None:
    (tmp_path / "starved.py").write_text(STARVED)
    in_namespace(
        """
        mkdir shared; mount -t tmpfs shared shared; mount --make-shared shared; mkdir shared/x
        unshare -m --propagation unchanged sh -c 'mkfifo end; touch ready; read x <end' &
        until [ -e ready ]; do sleep 0.05; done
        $MNTTRACE record -o run.mnttrace -- python3 starved.py
        """,
        timeout=120,
    )
    run = Recording(tmp_path / "run.mnttrace")
    gone = run.effects[(run.effects["source"] == "starved") & (run.effects["action"] == "detach")]
    calls = run.operations.set_index("seq")
    assert set(gone["via"]) == {"direct", "peer"}
    assert (gone["seq"].map(calls["syscall"].astype("string")) == "umount2").all()
    assert (gone.groupby("seq").size() == 2).all()
