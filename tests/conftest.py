# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What all tests share: what they need, mount namespaces to throw away, the console script.

Where the tests are run by root they leave the machine's mount namespace before the first one
starts, so that no test can change the mounts of the machine.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import CHECKOUT

# Helpers show what differs, as tests do.
pytest.register_assert_rewrite(
    "tests.unit", "tests.kernel", "tests.truth", "tests.runtimes", "tests.browser"
)

# Folders whose tests need root and the real kernel.
OF_THE_KERNEL = {"kernel", "truth", "runtimes"}
REQUIRE_KERNEL = "MNTTRACE_REQUIRE_KERNEL"
# How many times as long as usual a command of a test may take, as on emulated processors.
PATIENCE = float(os.environ.get("MNTTRACE_PATIENCE", "1"))

CLONE_NEWNS = 0x00020000  # linux/sched.h
MS_REC, MS_PRIVATE = 0x4000, 0x40000  # linux/mount.h

Run = Callable[..., subprocess.CompletedProcess[str]]


@functools.cache
def leave_machines_mounts() -> str:
    """Move this process into a private mount namespace of its own, with tracefs in it.

    Returns what kept it from doing so, or "".
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        return f"leave to make mount namespaces ({os.strerror(ctypes.get_errno())})"
    if not Path("/sys/kernel/tracing/events").exists():
        # Whether this worked is for `kernel_lacks` to say.
        libc.mount(b"tracefs", b"/sys/kernel/tracing", b"tracefs", 0, None)
    return ""


@functools.cache
def kernel_lacks() -> list[str]:
    """What a test of the real kernel needs and this machine, or this user, has not."""
    if os.geteuid() != 0:
        return ["root"]
    lacks = [leave_machines_mounts()]
    if not os.access("/sys/kernel/btf/vmlinux", os.R_OK):
        lacks.append("the kernel's types (/sys/kernel/btf/vmlinux)")
    if not Path("/sys/kernel/tracing/events").exists():
        lacks.append("tracefs on /sys/kernel/tracing")
    # In a process of its own: bcc is heavy, and not every version compiles without warnings.
    bcc = subprocess.run(
        [sys.executable, "-c", "from bcc import BPF"], capture_output=True, text=True, check=False
    )
    if bcc.returncode:
        lacks.append(f"the distribution's bcc ({bcc.stderr.strip().splitlines()[-1]})")
    return [thing for thing in lacks if thing]


def pytest_configure() -> None:
    if os.geteuid() == 0:
        leave_machines_mounts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in the folders of the kernel; a test's own mark, with commands, goes first."""
    for item in items:
        if item.nodeid.split("/")[1] in OF_THE_KERNEL:
            item.add_marker("kernel")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold back a test marked `kernel`, or `kernel("runc")` where it needs that command too."""
    mark = item.get_closest_marker("kernel")
    if mark is None:
        return
    lacks = kernel_lacks() + [command for command in mark.args if not shutil.which(command)]
    if not lacks:
        return
    reason = "this test of the real kernel lacks " + ", ".join(lacks)
    if os.environ.get(REQUIRE_KERNEL, "0") not in ("", "0"):
        pytest.fail(f"{reason}, and {REQUIRE_KERNEL} is set", pytrace=False)
    pytest.skip(f"{reason}; {REQUIRE_KERNEL}=1 makes it fail rather than skip")


def run_to_the_end(
    command: list[str], *, timeout: float, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a command, then kill what it left in the background: nothing outlives its test."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(  # type: ignore[call-overload]
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            **options,
        )
        try:
            status = process.wait(timeout * PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


@pytest.fixture
def patience() -> float:
    """How many times as long as usual things may take here."""
    return PATIENCE


@pytest.fixture
def in_namespace(tmp_path: Path) -> Run:
    """`in_namespace(script, check=True, timeout=60, **env)` runs a shell script where it may mount.

    It runs with `sh -e` in a mount namespace of its own, all of which is shared, with the test's
    tmp_path as its folder, and `$CHECKOUT` and `$MNTTRACE` to start things with. Its background
    processes are killed when it ends. A status that is not 0 is a failure, unless `check=False`.
    """

    def run(
        script: str, *, check: bool = True, timeout: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        unshare = ["unshare", "--mount", "--propagation", "private"]
        done = run_to_the_end(
            [*unshare, "sh", "-ec", f"mount --make-rshared /\n{script}"],
            timeout=timeout,
            cwd=tmp_path,
            env=os.environ
            | {"CHECKOUT": str(CHECKOUT), "MNTTRACE": f"{sys.executable} -m mnttrace"}
            | env,
        )
        if check and done.returncode:
            pytest.fail(f"status {done.returncode} of:\n{script}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT],
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture
def mnttrace(tmp_path: Path) -> Run:
    """`mnttrace(*arguments, timeout=60, **env)` runs the command, with tmp_path as its folder."""

    def run(
        *arguments: str | Path, timeout: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return run_to_the_end(
            [sys.executable, "-m", "mnttrace", *map(str, arguments)],
            timeout=timeout,
            cwd=tmp_path,
            env=os.environ | env,
        )

    return run
