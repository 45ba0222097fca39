# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The same events give the same rows, in the same order: again, in another process whose hashes of
text are other ones, and by way of a raw log."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from mnttrace.capture.join.selection import Filter
from mnttrace.capture.stream.raw_log import VERSION, Header, RawLog, RawLogWriter
from tests import CHECKOUT
from tests.rejoined import joined
from tests.replay.logs import NAMES, load

PROGRAM = "from tests.replay.test_determinism import digests; print(*digests())"


def digests() -> list[str]:
    """Of the rows of each log."""
    return [sha256(msgspec.json.encode(load(name).rows())).hexdigest() for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_again(name: str) -> None:
    log = load(name)
    assert log.rows() == log.rows()


@pytest.mark.parametrize("seed", ["1", "77"])
def test_the_same_rows_in_another_process(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == digests()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_by_way_of_a_raw_log(name: str, tmp_path: Path) -> None:
    """The kernel's addresses are replaced on the way: nothing depends on what they are."""
    log = load(name)
    writer = RawLogWriter(tmp_path, Header(VERSION, log.setting, log.wanted, {}))
    for event in log.events():
        writer.add(event)
    writer.close()
    assert joined(RawLog(tmp_path)) == log.rows()


def test_a_filter_comes_through_a_raw_log(tmp_path: Path) -> None:
    wanted = Filter(namespaces=frozenset({1, 2}), paths=("/a",))
    RawLogWriter(tmp_path, Header(VERSION, load(NAMES[0]).setting, wanted, {})).close()
    assert RawLog(tmp_path).header.wanted == wanted
