"""What bad input gets: a line on stderr, a status of its own, no traceback."""

import json
from pathlib import Path

import pytest


def one_line(done, status, *words):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_not_a_recording(mnttrace, tmp_path):
    one_line(mnttrace("leaks", str(tmp_path)), 5, "is not a recording")


def test_another_version(mnttrace, tmp_path):
    (tmp_path / "meta.json").write_text(json.dumps({"format": 999}))
    one_line(mnttrace("leaks", str(tmp_path)), 5, "format 999")


def test_unknown_table(mnttrace, tmp_path):
    (tmp_path / "meta.json").write_text(json.dumps({"format": 1}))
    one_line(mnttrace("export", str(tmp_path), "--table", "nonsense"), 2, "nonsense")


@pytest.mark.kernel
def test_output_that_exists(mnttrace, tmp_path):
    (tmp_path / "run.mnttrace").mkdir()
    one_line(mnttrace("record", "-o", "run.mnttrace", "--", "true"), 6, "exists already")


@pytest.mark.kernel
def test_command_not_found(mnttrace, tmp_path: Path):
    one_line(mnttrace("record", "--", "no-such-command"), 2, "no-such-command")
    assert json.loads((tmp_path / "run.mnttrace/meta.json").read_text())["complete"]


@pytest.mark.kernel
def test_exit_status_is_passed_on(mnttrace):
    assert mnttrace("record", "--", "sh", "-c", "exit 7").returncode == 7
