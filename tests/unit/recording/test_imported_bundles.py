# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The support bundles of each runtime (tests/data/bundles), imported and asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.linux.mountinfo import parse
from mnttrace.recording.imported import Imported, import_tables
from mnttrace.report.leaks import tables_alone
from mnttrace.report.why import lines
from tests import CHECKOUT

BUNDLES = CHECKOUT / "tests/data/bundles"
HOLDERS = ["runc", "crun", "podman", "docker", "containerd"]
SLAVES = ["lxc", "nspawn", "bwrap"]
AT_HOME = "/srv/host/volume"


def imported(folder: Path, *given: str | Path) -> tuple[Recording, Imported]:
    made = import_tables(folder / "i.mnttrace", map(str, given), force=True)
    return Recording(folder / "i.mnttrace"), made


def why(run: Recording, path: str, within: str | None = None) -> str:
    return "\n".join(lines(run.why(path, within)))


def test_all_runtimes_are_here() -> None:
    assert {path.name for path in BUNDLES.iterdir() if path.is_dir()} == {*HOLDERS, *SLAVES}


@pytest.mark.parametrize("runtime", HOLDERS + SLAVES)
@pytest.mark.parametrize("form", ["folder", "gztar", "xztar", "zip"])
def test_both_namespaces_are_found_once(runtime: str, form: str, tmp_path: Path) -> None:
    given = BUNDLES / runtime
    if form != "folder":
        given = Path(shutil.make_archive(str(tmp_path / "sos"), form, BUNDLES, runtime))
    run, made = imported(tmp_path, given)
    assert [one.name for one in made.tables] == ["host", "sh[77]"]
    assert (made.others, made.damaged) == (1, [])  # a file "comm"
    assert not run.warnings
    table = parse((BUNDLES / runtime / "proc/1/mountinfo").read_text())
    assert len(run.mounts[run.mounts["ns_id"] == run.meta["home_ns_id"]]) == len(table)


@pytest.mark.parametrize("runtime", HOLDERS)
def test_what_a_container_holds(runtime: str, tmp_path: Path) -> None:
    run, _ = imported(tmp_path, BUNDLES / runtime)
    [told] = tables_alone(run)
    assert told.startswith("sh[77] has ")
    held = f"tmpfs disk at /volume/held (the host's {AT_HOME}/held), "
    assert f"that the host has not (held, or its own): {held}" in told
    answer = why(run, f"{AT_HOME}/held")
    assert "sh[77]: /volume/held as mount " in answer
    assert "\n    umount -N 77 /volume/held\n" in answer
    assert f"\n    rmdir {AT_HOME}/held  # if it is empty\n" in answer
    assert "mnt:[" not in answer
    answer = why(run, f"{AT_HOME}/late", "77")
    assert "not in sh[77]: /volume in sh[77] is private and receives noth" in answer


@pytest.mark.parametrize("runtime", SLAVES)
def test_what_a_slave_has(runtime: str, tmp_path: Path) -> None:
    run, _ = imported(tmp_path, BUNDLES / runtime)
    assert "disk" not in set(run.mounts["source"])
    answer = why(run, f"{AT_HOME}/late")
    assert "2 mounts in 2 mount namespaces" in answer
    assert "sh[77]: /volume/late as mount " in answer
    assert "a umount on the host propagates to it" in answer


@pytest.mark.parametrize("runtime", HOLDERS)
@pytest.mark.parametrize("form", ["proc/77/mounts", "mount-in-77.txt"])
def test_of_a_lesser_form_only_what_it_tells(runtime: str, form: str, tmp_path: Path) -> None:
    host = f"host={BUNDLES / runtime / 'proc/1/mountinfo'}"
    run, made = imported(tmp_path, host, f"web={BUNDLES / runtime / form}")
    assert [one.name for one in made.tables] == ["host", "web"]
    [warning] = run.warnings
    assert warning.startswith("not told by the table of web: mount ids, parents")
    told = "\n".join(tables_alone(run))
    assert "web has" in told
    assert "of which it is not told whether the host has the file system" in told
    answer = why(run, "/volume/held")
    assert "tmpfs disk, device not told" in answer
    assert "web: /volume/held, propagation not told" in answer
    assert "umount" not in answer
    answer = why(run, f"{AT_HOME}/late", "web")
    assert "not in web: the mount tables do not tell why" in answer
