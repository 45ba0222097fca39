# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace timeline`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mnttrace.commands._common import RECORDING, warn_of_losses


@click.command("timeline")
@RECORDING
@click.argument("target", required=False)
@click.option(
    "--ns",
    metavar="NAMESPACE",
    help="Only what was done in a namespace or came to it: a name, id, pid, inode number, or host.",
)
@click.option("--failed", is_flag=True, help="Only operations that failed.")
@click.option(
    "--since",
    metavar="MOMENT",
    help="Only from then on: seconds since the recording began, or a time (UTC).",
)
def command(
    recording: Path, target: str | None, ns: str | None, failed: bool, since: str | None
) -> None:
    """List the operations in order, with their effects on mounts in every namespace.

    TARGET, as for why: only what happened to it, and what failed there.
    """
    from mnttrace.analysis.recording import Recording
    from mnttrace.report.timeline import write

    run = Recording(recording)
    warn_of_losses(run.meta)
    part = run if ns is None else run.namespace(ns)
    part = part if since is None else part.since(since)
    write(part, sys.stdout, target, only_failed=failed)
