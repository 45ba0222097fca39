# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace report`: where it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording
from tests import CHECKOUT
from tests.short import some
from tests.unit.report.written import write

RECORDINGS = CHECKOUT / "notebooks/recordings"


def test_it_is_written_beside_the_recording(mnttrace, tmp_path: Path) -> None:
    run = write(tmp_path / "lab.mnttrace", 3)
    done = mnttrace("report", run.directory)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {tmp_path / 'lab.html'}\n"
    assert (tmp_path / "lab.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_it_replaces_nothing_unless_it_is_told_to(mnttrace, tmp_path: Path) -> None:
    run = write(tmp_path / "lab.mnttrace", 3)
    file = tmp_path / "told.html"
    file.write_text("mine")
    done = mnttrace("report", run.directory, "-o", file)
    assert done.returncode == 6
    assert done.stderr == (f"mnttrace: {file} exists already (give --force to replace it)\n")
    assert file.read_text() == "mine"
    assert mnttrace("report", run.directory, "-o", file, "--force").returncode == 0
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_where_nothing_can_be_written(mnttrace, tmp_path: Path) -> None:
    run = write(tmp_path / "lab.mnttrace", 3)
    done = mnttrace("report", run.directory, "-o", tmp_path / "no" / "such.html")
    assert done.returncode == 6
    assert done.stderr.startswith(f"mnttrace: {tmp_path}/no/such.html: No such file")
    done = mnttrace("report", run.directory, "-o", tmp_path, "--force")
    assert done.returncode == 6
    assert "Is a directory" in done.stderr


def test_mount_tables_alone_have_a_report(mnttrace, tmp_path: Path) -> None:
    (tmp_path / "host.txt").write_text(
        "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n21 20 0:5 / /proc rw - proc proc rw\n"
    )
    mnttrace("import", f"host={tmp_path / 'host.txt'}", "-o", tmp_path / "lab.mnttrace")
    done = mnttrace("report", tmp_path / "lab.mnttrace")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "lab.html").read_text(encoding="utf-8")
    assert "No mount is known to have reached another mount namespace" in page
    assert "only mount tables" in page


@pytest.mark.parametrize(
    "path", some(sorted(RECORDINGS.rglob("*.mnttrace")), 3), ids=lambda path: path.stem
)
def test_each_recording_of_the_notebooks_has_a_report(mnttrace, tmp_path: Path, path: Path) -> None:
    done = mnttrace("report", path, "-o", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.html").read_text()
    assert text.count("<details class=leak") == len(Recording(path).leaks)
