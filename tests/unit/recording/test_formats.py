"""Recordings of older formats, and damaged ones: what is missing is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest

import mnttrace
from mnttrace.recording.schema import COLUMNS
from tests import CHECKOUT

Run = Callable[..., CompletedProcess[str]]
OLD = CHECKOUT / "tests/data/recordings/format-1.mnttrace"


@pytest.fixture(name="command")
def command_fixture(request: pytest.FixtureRequest) -> Run:
    """The fixture `mnttrace` by another name: here that is the module."""
    return request.getfixturevalue("mnttrace")  # type: ignore[no-any-return]


def test_a_recording_of_format_1_is_read(command: Run) -> None:
    run = mnttrace.load(OLD)
    assert run.warnings == [
        "format 1 of recordings does not tell who used what could not be unmounted, "
        "which mounts are unbindable or locked"
    ]
    for name, columns in COLUMNS.items():
        frame = getattr(run, name)
        if name != "namespaces":
            assert {column.name for column in columns} <= set(frame), name
    assert run.effects["locked"].isna().all()
    [leak] = run.leaks.to_dict("records")
    assert (leak["kind"], leak["direction"]) == ("residue", "container→host")
    first = run.mounts[run.mounts["snapshot"] == run.snapshots["snapshot"].iloc[0]]
    begin = run.at(0)
    assert set(first["mnt_id_unique"]) <= set(begin["mnt_id_unique"])
    assert leak["mountpoint"] not in set(begin["mountpoint"])
    end = run.at(pd.Timestamp(run.meta["stopped"], tz="UTC"))
    assert leak["mountpoint"] in set(end["mountpoint"])
    done = command("leaks", OLD)
    assert done.returncode == 0
    assert "incomplete: format 1 of recordings does not tell" in done.stderr


@pytest.mark.parametrize("table", [name for name in COLUMNS if name != "users"])
def test_a_table_that_is_gone_is_told(table: str, tmp_path: Path, command: Run) -> None:
    copy = tmp_path / "run.mnttrace"
    shutil.copytree(OLD, copy)
    (copy / f"{table}.parquet").unlink()
    run = mnttrace.load(copy)
    assert any(f"the file of the table {table} is gone" in text for text in run.warnings)
    assert run.at(0).empty == (table == "mounts")
    for name in ("leaks", "timeline", "tree", "info"):
        done = command(name, copy)
        assert done.returncode == 0, done.stderr
        assert f"the file of the table {table} is gone" in done.stderr, name
        assert "Traceback" not in done.stderr
    # A pipeline must not take a recording without effects for one without leaks.
    assert ("No mount is known to have" in command("leaks", copy).stdout) == (table == "effects")
    asked = command("leaks", "--fail-on", "doubling", copy)
    assert asked.returncode == (5 if table == "effects" else 0), asked.stderr
