# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A wheel that is installed elsewhere records, with nothing of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def test_an_installed_wheel_records(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv", "install", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--quiet", wheel], check=True)
    # What it depends on, and the distribution's bcc, from the environment of these tests.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import mnttrace, sys; sys.path.remove('') if '' in sys.path else None"
    shown = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", f"{code}; print(mnttrace.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert Path(shown.stdout.strip()).is_relative_to(site)
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-m", "mnttrace", "record", "--", "unshare", "-m", "true"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run.mnttrace" / "operations.parquet").is_file()
