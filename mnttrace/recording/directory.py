# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The directory of a recording, before anything is in it. Needs no pyarrow, which is large."""

from __future__ import annotations

import shutil
from pathlib import Path

from mnttrace.errors import OutputError


def check(directory: Path, force: bool) -> None:
    """Check whether a recording can be made here.

    Args:
        directory: NAME.mnttrace.
        force: replace a recording that exists.

    Raises:
        OutputError: it exists and `force` is not given, or it is not a recording.
    """
    if not directory.exists():
        return
    if not force:
        raise OutputError(f"{directory} exists already", "give --force to replace it")
    if not (directory / "meta.json").is_file():
        raise OutputError(f"{directory} is not a recording", "choose another name")


def make(directory: Path, force: bool) -> None:
    """Make it, empty.

    Args:
        directory: NAME.mnttrace.
        force: replace a recording that exists.

    Raises:
        OutputError: as :func:`check`, or it cannot be made.
    """
    check(directory, force)
    try:
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{directory}: {error.strerror}", "choose another place") from error
