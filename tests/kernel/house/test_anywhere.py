# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Analysis needs neither bcc, nor root, nor a Linux that one can look at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import CHECKOUT

RECORDINGS = CHECKOUT / "notebooks/recordings"
CODE = """
import os, sys
assert not os.path.exists("/sys/kernel"), "there is a /sys"
assert os.geteuid() != 0

def refuse(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith("/proc"):
        raise OSError(2, "this system has no /proc", arguments[0])

sys.addaudithook(refuse)
sys.modules["bcc"] = None
sys.platform = "sunos5"
import mnttrace
from mnttrace.cli import main

run = mnttrace.load(sys.argv[1])
assert list(run.leaks["kind"]) == ["held"]
assert run.container("web").operations.shape[0] > 0
assert run.why("/srv/hunt/web/volume/disk").holders[0].kind == "held"
assert len(run.timeline()) > 100
assert len(run.at(run.operations["ts"].iloc[-1])) > 40
run.plot.timeline().save("timeline.svg")
for command in (
    ["leaks", sys.argv[1]],
    ["timeline", sys.argv[1]],
    ["tree", sys.argv[1]],
    ["why", sys.argv[1], "web"],
    ["query", sys.argv[1], "select count(*) from operations"],
    ["report", sys.argv[1], "-o", "report.html"],
    ["export", sys.argv[1], "--format", "perfetto", "-o", "run.pftrace"],
):
    sys.argv[0:] = ["mnttrace", *command]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
    sys.argv = ["", command[1]]
assert "linux" not in str(sys.platform)
"""


def test_load_analyse_plot_and_report_without_bcc_root_or_proc(tmp_path: Path) -> None:
    """As on another system: no /sys, the user is nobody, and nothing of Python gets at /proc.

    It is not hidden: the JavaScript engine that puts the report's pictures together wants its own
    /proc/self/maps on Linux.
    """
    (tmp_path / "code.py").write_text(CODE)
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    hide = "mount -t tmpfs none /sys"
    drop = f"setpriv --reuid 65534 --regid 65534 --clear-groups {sys.executable} code.py"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f"{hide}; exec {drop} {RECORDINGS}/hunt.mnttrace"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "timeline.svg").read_text().startswith("<svg")
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert (tmp_path / "run.pftrace").stat().st_size > 1_000
