# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The set-up that `make` makes, and the demo that stands on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import CHECKOUT
from tests.unit.house.commands import run

VENV = CHECKOUT / ".venv"

made_by_make = pytest.mark.skipif(
    Path(sys.prefix) != VENV, reason="`make test` runs this in the environment that it made"
)


@made_by_make
def test_environment_shows_bcc_and_nothing_else_of_the_distribution() -> None:
    shown = run(VENV / "bin/python", "-c", "import bcc, sys; print(*bcc.__path__, *sys.path)")
    bcc, *path = shown.stdout.split()
    links = [entry for entry in Path(bcc).parent.iterdir() if entry.is_symlink()]
    assert links == [Path(bcc)]
    assert (Path(bcc).resolve() / "libbcc.py").is_file()
    assert not [entry for entry in path if "dist-packages" in entry]


@made_by_make
def test_set_up_is_made_once() -> None:
    assert run("make", "--dry-run", "demo").stdout == "scripts/demo.sh\n"
    changed = run("make", "--dry-run", "--what-if=pyproject.toml", "demo")
    assert "scripts/setup.sh" in changed.stdout


def cgroups() -> set[str]:
    return {folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "mnttrace" in folder}


@pytest.mark.kernel("runc", "busybox")
def test_container_leaves_its_mount_behind(
    in_namespace: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = in_namespace('"$CHECKOUT"/scripts/container.sh . >&2; cat /proc/self/mountinfo')
    (leaked,) = [line for line in done.stdout.splitlines() if f"{tmp_path}/volume/scratch " in line]
    assert " shared:" in leaked
    assert leaked.endswith("- tmpfs scratch rw")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not cgroups()


@made_by_make
@pytest.mark.kernel("runc", "busybox")
def test_demo_shows_the_leak_and_names_what_to_type_next(tmp_path: Path) -> None:
    done = run("scripts/demo.sh", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    report, _, following = done.stdout.partition("Look further")
    assert f"{folder}/volume/scratch" in report.replace("\n", "")
    commands = re.findall(r"^  (\S+) (\w+) (\S+)$", following, re.M)
    assert {command for _, command, _ in commands} == {
        "leaks",
        "timeline",
        "tree",
        "info",
        "export",
    }
    for program, _, recording in commands:
        assert (CHECKOUT / program).is_file()
        assert recording == f"{folder}/demo.mnttrace"
    again = run(VENV / "bin/mnttrace", "leaks", commands[0][2])
    assert "volume/scratch" in again.stdout.replace("\n", "")
