# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""That `mnttrace rejoin --force` never removes the raw log that it reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mnttrace.capture.rejoin import rejoin
from mnttrace.errors import BadInput
from tests.replay.logs import FOLDER


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording with a raw log."""
    made = tmp_path / "run.mnttrace"
    made.mkdir()
    (made / "meta.json").write_text('{"format": 3}')
    shutil.copy(FOLDER / "6.18-none/removed.arrows", made / "raw.arrows")
    return made


def check_refused(source: Path, out: Path, log: Path) -> None:
    before = log.read_bytes()
    with pytest.raises(BadInput, match="has the raw log itself"):
        rejoin(source, out, force=True)
    assert log.read_bytes() == before


def test_into_the_recording_itself(recording: Path) -> None:
    check_refused(recording, recording, recording / "raw.arrows")


def test_of_a_link_into_what_it_leads_to(recording: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.mkdir()
    (link / "raw.arrows").symlink_to(recording / "raw.arrows")
    check_refused(link, recording, recording / "raw.arrows")


def test_of_a_folder_within_the_output(recording: Path) -> None:
    within = recording / "more" / "run.mnttrace"
    within.mkdir(parents=True)
    log = (recording / "raw.arrows").rename(within / "raw.arrows")
    check_refused(within, recording, log)


def test_into_a_link_to_the_recording(recording: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(recording)
    check_refused(recording, link, recording / "raw.arrows")


def test_through_a_link_within_the_output(recording: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    log = (recording / "raw.arrows").rename(elsewhere / "raw.arrows")
    (recording / "link").symlink_to(elsewhere)
    check_refused(recording / "link", recording, log)


def test_one_that_is_elsewhere_is_replaced(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mnttrace"
    rejoin(recording, out)
    rejoin(recording, out, force=True)
    assert (out / "effects.parquet").exists()
