# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace what-if`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnttrace.commands._common import namespace_now, warn_of_losses
from mnttrace.errors import BadInput

if TYPE_CHECKING:
    from mnttrace.analysis.diagnosis.what_if import WhatIf


@click.command("what-if")
@click.argument("words", nargs=-1, metavar="[RECORDING] COMMAND…")
@click.option(
    "--live", is_flag=True, help="Try them on the mount tables of this machine, as they are now."
)
@click.option(
    "--in",
    "within",
    metavar="NAMESPACE",
    default="host",
    help="The mount namespace that they are given in: the name of a container, unit or process, "
    "a pid, or host.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(words: tuple[str, ...], live: bool, within: str, as_json: bool) -> None:
    """Say what commands would do to the mounts of all namespaces; nothing is changed.

    Each COMMAND is one word for the shell, such as 'mount --bind /a /b': mount, umount, pivot_root
    or rmdir with their options. They are tried one after the other on the mount tables at the end
    of RECORDING.
    """
    if len(words) < (1 if live else 2):
        raise BadInput(
            "there is no command to try",
            "mnttrace what-if RECORDING 'umount /srv', or mnttrace what-if --live 'umount /srv'",
        )
    if not live:
        _show(Path(words[0]), words[1:], within, as_json)
        return
    from mnttrace.capture.snapshot import take_snapshot

    with tempfile.TemporaryDirectory(prefix="mnttrace-") as directory:
        recording = Path(directory) / "now.mnttrace"
        take_snapshot(recording)
        _show(recording, words, within, as_json, namespace_now)


def _show(
    recording: Path,
    commands: tuple[str, ...],
    within: str,
    as_json: bool,
    resolved: Callable[[str], str] = str,
) -> None:
    from mnttrace.analysis.diagnosis.what_if import what_if
    from mnttrace.analysis.recording import Recording
    from mnttrace.report.what_if import lines

    run = Recording(recording)
    warn_of_losses(run.meta)
    answer = what_if(run, run.diagnosis, commands, resolved(within), resolved)
    if as_json:
        click.echo(_as_json(answer))
        return
    for line in lines(answer):
        click.echo(line)


def _as_json(answer: WhatIf) -> str:
    refused = answer.refused
    return json.dumps(
        {
            "consequences": json.loads(answer.frame.to_json(orient="records")),
            "refused": refused and {"errno": refused.errno, "reason": refused.reason},
        },
        indent=1,
    )
