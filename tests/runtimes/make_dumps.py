# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Makes the support bundles in tests/data/bundles: mount tables of each runtime that is here.

    sudo .venv/bin/python -m tests.runtimes.make_dumps [--only NAME]

The host has a mount in the volume when the container starts, unmounts it, and mounts another one.
Then the tables are taken, as people take them: mountinfo of both, and what findmnt and mount print.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
from pathlib import Path

from tests import CHECKOUT
from tests.conftest import leave_machines_mounts
from tests.runtimes.runtimes import RUNTIMES, Container, own_cgroups, script

DUMPS = CHECKOUT / "tests/data/bundles"
FOLDER = Path("/srv/host")  # on a file system of its own, so that no table names this machine's
# What a machine has mounted, and no distribution does.
OTHERS = ("/mnt/", "/media/", "/home/")
UNSHARE = ("unshare", "--mount", "--propagation", "private")
INNER = """
touch /volume/ready
read -r word </volume/gate
cat /proc/self/mountinfo >/volume/mountinfo; cat /proc/mounts >/volume/mounts; mount >/volume/mount
"""
BODY = """
mkdir volume/held volume/late; mkfifo volume/gate
mount -t tmpfs disk volume/held
sh -ec "$CONTAINER" >container.log 2>&1 & container=$!
until [ -e volume/ready ]; do
    kill -0 $container || { cat container.log; exit 1; }
    sleep .02
done
umount volume/held
mount -t tmpfs late volume/late
mkdir -p dump/proc/1 dump/proc/77 dump/sos_commands/filesys
cat /proc/self/mountinfo >dump/proc/1/mountinfo
LC_ALL=C.UTF-8 findmnt >dump/sos_commands/filesys/findmnt
mount -l >dump/sos_commands/filesys/mount_-l
echo go >volume/gate
wait $container
cat volume/mountinfo >dump/proc/77/mountinfo
cat volume/mounts >dump/proc/77/mounts
cat volume/mount >dump/mount-in-77.txt
echo sh >dump/proc/77/comm
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(RUNTIMES))
    only = parser.parse_args().only
    problem = leave_machines_mounts()
    if problem:
        raise SystemExit(f"needs {problem}")
    for name, runtime in RUNTIMES.items():
        is_here = all(map(shutil.which, runtime.commands))
        if is_here and only in (None, name) and not name.endswith("-no-cgroups"):
            dump(name, runtime.propagations[0])


def dump(name: str, propagation: str) -> None:
    """Start a container of one runtime, and keep the tables."""
    with own_cgroups() as cgroups:
        make_room()
        text = script(name, FOLDER, Container(INNER, propagation=propagation), BODY)
        subprocess.run(
            [*UNSHARE, "sh", "-ec", f"mount --make-rshared /\n{text}"],
            cwd=FOLDER,
            env={"CGROUPS": cgroups, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
            check=True,
            timeout=120,
        )
    shutil.rmtree(DUMPS / name, ignore_errors=True)
    shutil.copytree(FOLDER / "dump", DUMPS / name)
    print(f"{name}: {propagation}")


def make_room() -> None:
    """An empty FOLDER, and nothing mounted that only this machine has; in our own namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for place in reversed([line.split()[4] for line in lines]):
        if place.startswith((*OTHERS, "/srv")):
            libc.umount2(place.encode(), 2)  # MNT_DETACH
    subprocess.run(["mount", "-t", "tmpfs", "srv", "/srv"], check=True)
    FOLDER.mkdir()


if __name__ == "__main__":
    main()
