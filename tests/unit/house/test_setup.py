# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The set-up script, and what `make` can make."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.house.commands import run


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH without runc and busybox, and an apt-get that shows whether it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "dirname", "id", "env"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    for tool in ("apt-get", "sudo"):
        (folder / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >>{tmp_path}/calls\nexit 100\n')
        (folder / tool).chmod(0o755)
    return folder


def set_up(
    bare_path: Path, os_release: str, *words: str, **env: str
) -> subprocess.CompletedProcess[str]:
    (bare_path / "os-release").write_text(os_release)
    return run(
        "scripts/setup.sh",
        *words,
        PATH=str(bare_path),
        PYTHON=sys.executable,
        VENV=str(bare_path / "venv"),
        OS_RELEASE=str(bare_path / "os-release"),
        **env,
    )


def test_another_distribution_is_told_what_to_install(bare_path: Path) -> None:
    done = set_up(bare_path, 'ID=fedora\nID_LIKE="rhel"\n')
    assert done.returncode == 4
    assert "not Debian or Ubuntu" in done.stderr
    assert re.search(r"\brunc busybox-static util-linux mount\b", done.stderr)
    assert not (bare_path.parent / "calls").exists()
    assert not (bare_path / "venv").exists()


@pytest.mark.parametrize("os_release", ["ID=debian\n", "ID=ubuntu\nID_LIKE=debian\n"])
def test_only_missing_packages_are_installed(bare_path: Path, os_release: str) -> None:
    (bare_path / "runc").symlink_to("/bin/true")
    done = set_up(bare_path, os_release)
    assert done.returncode == 4
    assert "apt-get could not install" in done.stderr
    calls = (bare_path.parent / "calls").read_text()
    assert re.search(r"install .*--no-install-recommends .*busybox-static", calls)
    assert not re.search(r"\brunc\b", calls)


def test_make_check_needs_no_packages_of_the_distribution(bare_path: Path) -> None:
    """It gets as far as to pip, which has nowhere to take anything from here."""
    nothing = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "."}
    done = set_up(bare_path, "ID=debian\n", "check", **nothing)
    assert done.returncode == 4
    assert "pip could not install" in done.stderr
    assert (bare_path / "venv").exists()
    assert not (bare_path.parent / "calls").exists()


def test_help_names_the_targets() -> None:
    assert {"check", "demo", "test", "lint"} <= set(
        re.findall(r"^  make (\w+)", run("make").stdout, re.M)
    )
