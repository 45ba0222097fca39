# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How a recording begins, and fails to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnttrace.capture import record
from mnttrace.capture.about import about
from mnttrace.capture.session import Session
from mnttrace.capture.stream import raw_log
from mnttrace.errors import OutputError

COMMAND = ["mount", "-o", "user=u,password=hunter2", "//server/x", "/mnt"]


def test_the_command_is_kept_without_its_secrets() -> None:
    wanted = ["mount", "-o", "user=u,password=<redacted>", "//server/x", "/mnt"]
    assert about(COMMAND)["command"] == wanted
    assert about(COMMAND, keep_secrets=True)["command"] == COMMAND


def test_what_a_session_holds_is_given_up_if_there_can_be_no_raw_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def refuse(*_: object) -> None:
        raise OutputError("no")

    def close(session: Session) -> None:
        closed.append(session)

    monkeypatch.setattr(raw_log, "RawLogWriter", refuse)
    monkeypatch.setattr(Session, "close", close)
    with pytest.raises(OutputError):
        record.Recorder(tmp_path / "run.mnttrace", backend="none", keep_raw=True)
    assert len(closed) == 1
