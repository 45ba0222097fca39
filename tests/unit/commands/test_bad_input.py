# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What bad input gets: a line on stderr, a status of its own, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.unit.commands.complaints import one_line

RECORD = [sys.executable, "-m", "mnttrace", "record", "-o", "run.mnttrace"]


def test_not_a_recording(mnttrace, tmp_path):
    one_line(mnttrace("leaks", str(tmp_path)), 5, "is not a recording")


def test_what_is_no_recording(mnttrace, tmp_path):
    done = mnttrace("report", tmp_path)
    assert done.returncode == 5
    assert "is not a recording" in done.stderr


def test_another_version(mnttrace, tmp_path):
    (tmp_path / "meta.json").write_text(json.dumps({"format": 999}))
    one_line(mnttrace("leaks", str(tmp_path)), 5, "format 999")


def test_unknown_table(mnttrace, tmp_path):
    (tmp_path / "meta.json").write_text(json.dumps({"format": 1}))
    one_line(mnttrace("export", str(tmp_path), "--table", "nonsense"), 2, "nonsense")


def test_not_root(mnttrace):
    if os.geteuid() != 0:
        one_line(mnttrace("record", "--", "true"), 4, "needs root")
        return
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *RECORD, "--", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    one_line(done, 4, "CAP_SYS_ADMIN", "CAP_BPF")
