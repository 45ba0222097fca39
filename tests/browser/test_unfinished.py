# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings that are still being written, were cut short, are empty, or lost something.

Each question is answered as far as the recording goes, and the answer says what is missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import mnttrace
from mnttrace.analysis.recording import Recording
from mnttrace.recording.writer import Writer
from tests import CHECKOUT

Run = Callable[..., CompletedProcess[str]]
KEPT = CHECKOUT / "notebooks/recordings/before.mnttrace"
COMMANDS = (
    ["leaks"],
    ["timeline"],
    ["tree"],
    ["info"],
    ["query", "select count(*) as n from effects"],
    ["export", "--format", "perfetto", "-o", "out.pftrace"],
    ["export", "--format", "mermaid"],
    ["report", "-o", "out.html", "--force"],
)
FRAMES = "operations effects propagations leaks mounts namespaces refusals births doublings"


@pytest.fixture(name="command")
def command_fixture(request: pytest.FixtureRequest) -> Run:
    """The fixture `mnttrace` by another name: here that is the module."""
    return request.getfixturevalue("mnttrace")  # type: ignore[no-any-return]


def answers(recording: Path, command: Run, folder: Path, missing: str) -> Recording:
    """Ask a recording everything; each answer has to say what is missing."""
    for words in COMMANDS:
        done = command(words[0], recording, *words[1:])
        assert done.returncode == 0, done.stderr
        assert f"mnttrace: incomplete: {missing}" in done.stderr, words
    run = mnttrace.load(recording)
    assert any(missing in text for text in run.warnings)
    for name in FRAMES.split():
        frame = getattr(run, name)
        assert any(missing in text for text in frame.attrs["warnings"]), name
    assert missing in run._repr_html_()
    assert missing in (folder / "out.html").read_text()
    for name in ("timeline", "graph", "heatmap", "growth", "latency"):
        chart = getattr(run.plot, name)()
        assert missing in json.dumps(chart.to_dict(), ensure_ascii=False), name
    return run


@pytest.mark.kernel
def test_while_it_is_written_and_after_it_was_killed(
    in_namespace: Run, command: Run, tmp_path: Path
) -> None:
    in_namespace(
        """
        mkdir volume; mount -t tmpfs volume volume; mkdir volume/x
        $MNTTRACE record -o run.mnttrace & recorder=$!
        until [ -s run.mnttrace/snapshots.arrows ]; do sleep .02; done
        unshare -m --propagation unchanged mount -t tmpfs inner volume/x
        until [ -s run.mnttrace/effects.arrows ]; do sleep .02; done
        cp -r run.mnttrace while.mnttrace
        kill -KILL $recorder; wait $recorder || true
        """
    )
    for name in ("while", "run"):
        missing = "the recording was not closed, or is still being written"
        run = answers(tmp_path / f"{name}.mnttrace", command, tmp_path, missing)
        [leak] = run.leaks[run.leaks["source"] == "inner"].to_dict("records")
        assert leak["mountpoint"] == f"{tmp_path}/volume/x"
        tables = run.at(run.operations["ts"].max())
        assert (tables["mountpoint"] == f"{tmp_path}/volume").any()


def test_one_that_lost_something(command: Run, tmp_path: Path) -> None:
    recording = tmp_path / "run.mnttrace"
    shutil.copytree(KEPT, recording)
    meta = json.loads((recording / "meta.json").read_text())
    meta["losses"] |= {"lost_operation": 17}
    (recording / "meta.json").write_text(json.dumps(meta))
    run = answers(recording, command, tmp_path, "17 calls are missing")
    assert len(run.leaks) == 1


def test_an_empty_one(command: Run, tmp_path: Path) -> None:
    """Nothing was recorded, not even a mount table."""
    recording = tmp_path / "run.mnttrace"
    writer = Writer(recording)
    kept = json.loads((KEPT / "meta.json").read_text())
    writer.meta |= kept | {"losses": {"lost_operation": 3}, "format": writer.meta["format"]}
    writer.close()
    run = answers(recording, command, tmp_path, "3 calls are missing")
    assert run.leaks.empty
    assert run.at(0).empty
    assert run.timeline().empty
    assert mnttrace.compare(run, run).empty
