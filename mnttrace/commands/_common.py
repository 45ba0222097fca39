# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Shared by the commands that read a recording."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

PROGRAMS = click.option(
    "--programs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Load the BPF programs from a file that mnttrace compile made: needs neither bcc nor "
    "clang.",
)
COMPAT = click.option(
    "--compat",
    is_flag=True,
    help="Trace the calls of 32-bit programs wherever that can be had on x86-64. Where the kernel "
    "takes programs on the functions of calls, that is so without it, but on Linux 7; where it "
    "does not, all calls of all processes take longer by that. What such programs do to mounts is "
    "always told, by their threads.",
)
VERBOSE = click.option(
    "-v", "--verbose", is_flag=True, help="Say more, such as where the BPF programs come from."
)
RECORDING = click.argument("recording", type=click.Path(path_type=Path))


def teller(verbose: bool) -> Callable[[str], None]:
    """What writes a line to stderr, if that is wanted."""

    def say(text: str) -> None:
        if verbose:
            click.echo(f"mnttrace: {text}", err=True)

    return say


def warn_of_losses(meta: dict[str, Any]) -> None:
    """Write to stderr what a recording lacks."""
    from mnttrace.analysis.frames.losses import warnings
    from mnttrace.report.text import safe

    for text in warnings(meta):
        click.echo(f"mnttrace: incomplete: {safe(text)}", err=True)


def opened(recording: Path) -> Recording:
    """A recording; what it lacks is written to stderr."""
    from mnttrace.analysis.recording import Recording

    run = Recording(recording)
    warn_of_losses(run.meta)
    return run


@contextmanager
def mounts_now() -> Iterator[Recording]:
    """The mount tables of this machine as they are now."""
    from mnttrace.capture.snapshot import take_snapshot

    with tempfile.TemporaryDirectory(prefix="mnttrace-") as directory:
        recording = Path(directory) / "now.mnttrace"
        take_snapshot(recording)
        yield opened(recording)


def namespace_now(text: str) -> str:
    """The mount namespace of a process, as "mnt:[N]"; any other text as it is."""
    if not text.isdecimal():
        return text
    try:
        return os.readlink(f"/proc/{text}/ns/mnt")
    except OSError:
        return text
