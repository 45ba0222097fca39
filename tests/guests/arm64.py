# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Tests on Linux 6.1 of arm64, booted by QEMU: kprobes are all that there is on its functions.

    sudo .venv/bin/python -m tests.guests.arm64 [--suites doctor,seeds]

Before 6.4 programs cannot be put on functions there by fentry. The guest's root is a tree of Debian
12's packages, in which the wheel was installed with pip. What was said is in .kernels/arm64. Prints
a table; ends with status 1 if a suite failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests import CHECKOUT
from tests.guests.debian13 import DEPENDENCIES, installed
from tests.guests.guest import ARM64, Guest, in_own_mounts
from tests.guests.matrix import ENVIRONMENT, TIMEOUT, cell
from tests.guests.packages import Archive

PACKAGES = (
    *("python3-bpfcc", "dash", "bash", "coreutils", "grep", "mount", "procps", "sed", "util-linux"),
    *("busybox-static", "e2fsprogs", "libc-bin", "runc"),
)
PYTHON, VERSION = "3.11", "6.1"
# What bcc's texts are warned of is no fault of ours: nothing has compiled them yet.
QUIET = "-W 'ignore:invalid escape sequence:DeprecationWarning'"
PYTEST = f"python3 -P -m pytest -p no:cacheprovider -q {QUIET}"
SUITES = {
    "doctor": "python3 -P -m mnttrace doctor",
    "seeds": f"{PYTEST} tests/kernel/test_seeds.py",
    "hooks": f"{PYTEST} tests/kernel/probes/test_hooks.py tests/kernel/linux/test_bpf.py "
    "-k 'not fentry'",
    "tables": f"{PYTEST} tests/kernel/analysis/test_moments.py",
    "concurrency": f"{PYTEST} tests/truth/test_concurrency.py",
    "truth": f"{PYTEST} -s tests/truth/test_matrix.py -k 'not syscalls'",
    "runc": f"{PYTEST} tests/runtimes/test_reach.py -k runc",
}
# As in the matrix.
ON_REQUEST = {
    "raw-logs": 'cd /media && umount -l "$OLDPWD" && '
    "PYTHONPATH=$PYTHONPATH:/media python3 -P -m tests.replay.make_logs /mnt/raw-logs"
}
PREPARE = f"{ENVIRONMENT}; export PYTHONPATH={DEPENDENCIES}"


def merged(tree: Path) -> None:
    """/bin and its like as links to what is in /usr, as a package's scripts would have them."""
    for name in ("bin", "sbin", "lib"):
        place = tree / name
        if not place.is_symlink():
            subprocess.run(["cp", "-a", f"{place}/.", tree / "usr" / name], check=True)
            subprocess.run(["rm", "-r", place], check=True)
            place.symlink_to(f"usr/{name}")
    for name in (
        "proc",
        "sys",
        "dev",
        "tmp",
        "run",
        "mnt",
        "media",
        "srv",
        "root",
        "var/tmp",
        "var/lib",
    ):
        (tree / name).mkdir(parents=True, exist_ok=True)
    shell = tree / "bin/sh"
    if not shell.exists():
        shell.symlink_to("dash")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suites", default=",".join(SUITES))
    asked = parser.parse_args()
    in_own_mounts()
    cache = Path.home() / ".cache"
    archive = Archive(cache / "mnttrace-arm64", ("bookworm", "bookworm-updates"), "arm64")
    tree = archive.tree(*PACKAGES)
    merged(tree)
    installed(tree, PYTHON, "aarch64")
    qemu = Archive(cache / "mnttrace-kernels").qemu(ARM64.package)
    guest = Guest(ARM64, qemu, archive.kernel(VERSION), tree)
    known = SUITES | ON_REQUEST
    suites = {name: known[name] for name in asked.suites.split(",")}
    commands = {name: f"{PREPARE}; {command}" for name, command in suites.items()}
    found = guest.run(commands, CHECKOUT / ".kernels/arm64", TIMEOUT * len(suites))
    print("| kernel | " + " | ".join(suites) + " |\n|---|" + "---|" * len(suites))
    print(f"| {guest.release} | {' | '.join(map(cell, found))} |")
    sys.exit(any(outcome.status != 0 for outcome in found))


if __name__ == "__main__":
    main()
