# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Tests with the Python, bcc and LLVM of Debian 13, on the kernel of this machine.

    sudo .venv/bin/python -m tests.guests.debian13 [WORD …]

The wheel is built, and installed with pip into a tree that has but a few packages of Debian 13;
pytest runs there, with these words or some tests that record. The checkout is there for its tests
alone. What was fetched is in ~/.cache/mnttrace-debian13. Ends with the status of pytest.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import CHECKOUT
from tests.guests.packages import Archive

PACKAGES = (
    *("python3-bpfcc", "dash", "bash", "coreutils", "grep", "mount", "procps", "sed", "util-linux"),
    *("busybox-static", "crun", "e2fsprogs", "libc-bin", "runc"),
)
PYTHON = "3.13"
DEPENDENCIES = "/opt/mnttrace"
SHORT = ("tests/kernel/test_seeds.py", "tests/kernel/probes")
# The tree becomes the root of a mount namespace of its own; tests write to a tmpfs.
PREPARE = """
mount --make-rprivate /
mount --bind "$TREE" "$TREE"
cd "$TREE"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmp tmp; mkdir tmp/old
mkdir -p ".$CHECKOUT"
mount --bind "$CHECKOUT" ".$CHECKOUT"
pivot_root . tmp/old
umount -l /tmp/old; rmdir /tmp/old
cd "$CHECKOUT"
exec "$@"
"""


def installed(tree: Path, python: str, machine: str) -> None:
    """The wheel, with what it needs and what its tests need, for another Python than this one.

    Args:
        tree: where it goes, under :data:`DEPENDENCIES`.
        python: its version.
        machine: as uname(2) calls it.
    """
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
        subprocess.run([*build, CHECKOUT], check=True, stdout=subprocess.DEVNULL)
        [wheel] = Path(folder).glob("*.whl")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--python-version"]
        pip += [python, "--platform", f"manylinux_2_28_{machine}"]
        pip += ["--only-binary=:all:", "--target", f"{tree}{DEPENDENCIES}"]
        subprocess.run([*pip, f"{wheel}[sql]", "pytest", "hypothesis"], check=True)


def main() -> None:
    tree = Archive(Path.home() / ".cache/mnttrace-debian13", ("trixie",)).tree(*PACKAGES)
    installed(tree, PYTHON, platform.machine())
    # Not from the folder that it is started in: what is tested is what was installed.
    command = ["python3", "-P", "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    own = ["unshare", "--mount", "sh", "-ec", PREPARE, "sh", *command, *(sys.argv[1:] or SHORT)]
    environment = {
        "PATH": "/usr/sbin:/usr/bin",
        "HOME": "/tmp",
        "TREE": str(tree),
        "CHECKOUT": str(CHECKOUT),
        "PYTHONPATH": DEPENDENCIES,
        "PYTHONDONTWRITEBYTECODE": "1",
        # Many tests look for mount(2), which this mount(8) calls no more unless it has to.
        "LIBMOUNT_FORCE_MOUNT2": "always",
        "MNTTRACE_REQUIRE_KERNEL": os.environ.get("MNTTRACE_REQUIRE_KERNEL", "1"),
    }
    sys.exit(subprocess.run(own, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
