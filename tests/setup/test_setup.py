"""The set-up that `make` makes, and the demo that stands on it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = CHECKOUT / ".venv"

made_by_make = pytest.mark.skipif(
    Path(sys.prefix) != VENV, reason="`make test` runs this in the environment that it made"
)


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    # A make above this one would tell its options to the one below.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=outside | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


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


def set_up(bare_path: Path, os_release: str) -> subprocess.CompletedProcess[str]:
    (bare_path / "os-release").write_text(os_release)
    return run(
        "scripts/setup.sh",
        PATH=str(bare_path),
        PYTHON=sys.executable,
        VENV=str(bare_path / "venv"),
        OS_RELEASE=str(bare_path / "os-release"),
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


def test_help_names_the_targets() -> None:
    assert {"demo", "test", "lint"} <= set(re.findall(r"^  make (\w+)", run("make").stdout, re.M))


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
