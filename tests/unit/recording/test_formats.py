# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings of older formats, and damaged ones: what is missing is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
from click.testing import CliRunner

import mnttrace
from mnttrace.cli import group
from mnttrace.linux.flags import MOUNT, PROPAGATION, UMOUNT
from mnttrace.recording.schema import COLUMNS
from mnttrace.recording.upgrade import upgrade_meta
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
        "recordings of format 1 lack: processes that kept mounts busy, "
        "whether mounts are unbindable or locked"
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
    assert "incomplete: recordings of format 1 lack" in done.stderr


@pytest.mark.parametrize("table", [name for name in COLUMNS if name != "users"])
def test_a_table_that_is_gone_is_told(table: str, tmp_path: Path) -> None:
    copy = tmp_path / "run.mnttrace"
    shutil.copytree(OLD, copy)
    (copy / f"{table}.parquet").unlink()
    run = mnttrace.load(copy)
    assert any(f"the file of the table {table} is gone" in text for text in run.warnings)
    assert run.at(0).empty == (table == "mounts")
    # Eight tables and five commands: in this process, as each other one would import pandas.
    told = {}
    for name in ("leaks", "timeline", "tree", "info"):
        done = CliRunner().invoke(group, [name, str(copy)])
        assert done.exit_code == 0, done.output
        assert f"the file of the table {table} is gone" in done.stderr, name
        told[name] = done.stdout
    # A pipeline must not take a recording without effects for one without leaks.
    assert ("No mount is known to have" in told["leaks"]) == (table == "effects")
    asked = CliRunner().invoke(group, ["leaks", "--fail-on", "doubling", str(copy)])
    status = getattr(asked.exception, "exit_status", asked.exit_code)  # what main() makes of it
    assert status == (5 if table == "effects" else 0), asked.output


def test_a_recording_of_format_2_is_read(command: Run) -> None:
    run = mnttrace.load(OLD.with_name("format-2.mnttrace"))
    assert run.warnings == []
    assert (run.meta["upgraded_from"], run.meta["backend"]) == (2, "walk")
    for name, columns in COLUMNS.items():
        assert list(getattr(run, name)) == [column.name for column in columns], name
    assert set(run.losses["kind"]) >= {"cut_inconsistent"}
    calls = run.operations.set_index("seq")
    numbers = calls["flags_value"].to_dict()
    remount = MOUNT["MS_RDONLY"] | MOUNT["MS_REMOUNT"] | MOUNT["MS_BIND"] | MOUNT["MS_RELATIME"]
    assert (numbers[3], numbers[5]) == (remount, UMOUNT["MNT_DETACH"])
    assert numbers[9] == MOUNT["MS_REC"] | PROPAGATION["MS_SLAVE"]
    assert (numbers[12], numbers[13]) == (1, 6)  # FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE
    assert calls.loc[[11, 12, 13, 14, 15], "fs_context"].to_list() == [11] * 5
    assert run.refusals["reason"].to_list()[1] == "the parent of the source is shared"
    [left] = run.leaks[run.leaks["present"] > 0].to_dict("records")
    assert (left["via_group"], left["via_path"]) == (22, "/srv/format/volume")
    done = command("leaks", run.directory)
    assert "through peer group 22" in done.stdout
    assert done.stderr == ""


def test_the_names_in_meta_are_the_new_ones() -> None:
    meta = {"format": 2, "way": "inner", "losses": {"lost_path": 1, "cut_astray": 2}}
    new = {
        "format": 2,
        "backend": "kernel-hooks",
        "losses": {"lost_path": 1, "cut_inconsistent": 2},
    }
    assert upgrade_meta(2, meta) == new
    assert upgrade_meta(2, {"way": "none"}) == {"backend": "none"}
    assert upgrade_meta(1, {}) == {}
