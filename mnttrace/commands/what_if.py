# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace what-if`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnttrace.commands._common import mounts_now, namespace_now, opened
from mnttrace.errors import BadInput

if TYPE_CHECKING:
    from mnttrace.analysis.diagnosis.otherwise import Otherwise
    from mnttrace.analysis.diagnosis.what_if import WhatIf
    from mnttrace.analysis.recording import Recording


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
@click.option(
    "--replace",
    "changes",
    multiple=True,
    metavar="'OPERATION: WHAT'",
    help="Put the recorded history through with another thing done in place of an operation: a "
    "propagation type, commands (... is the operation itself), or nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(
    words: tuple[str, ...], live: bool, within: str, changes: tuple[str, ...], as_json: bool
) -> None:
    """Say what commands would do to the mounts of all namespaces; nothing is changed.

    Each COMMAND is one word for the shell, such as 'mount --bind /a /b': mount, umount, pivot_root
    or rmdir with their options. They are tried one after the other on the mount tables at the end
    of RECORDING.
    """
    if changes:
        if live or len(words) != 1:
            raise BadInput(
                "--replace is for the history of one recording, without commands",
                "mnttrace what-if RECORDING --replace '12: rslave'",
            )
        _show_replaced(opened(Path(words[0])), changes, as_json)
        return
    if len(words) < (1 if live else 2):
        raise BadInput(
            "there is no command to try",
            "mnttrace what-if RECORDING 'umount /srv', or mnttrace what-if --live 'umount /srv'",
        )
    if not live:
        _show(opened(Path(words[0])), words[1:], within, as_json)
        return
    with mounts_now() as run:
        _show(run, words, within, as_json, namespace_now)


def _show(
    run: Recording,
    commands: tuple[str, ...],
    within: str,
    as_json: bool,
    resolved: Callable[[str], str] = str,
) -> None:
    from mnttrace.analysis.diagnosis.what_if import what_if
    from mnttrace.report.what_if import lines

    answer = what_if(run, run.diagnosis, commands, resolved(within), resolved)
    if as_json:
        click.echo(_as_json(answer))
        return
    for line in lines(answer):
        click.echo(line)


def _show_replaced(run: Recording, changes: tuple[str, ...], as_json: bool) -> None:
    from mnttrace.report.what_if import otherwise

    found = run.replaced(*changes)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=1))
        return
    for line in otherwise(found, run.diagnosis):
        click.echo(line)


def _plain(found: Otherwise) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "gone": [{"ns_id": one.mount.ns, "mountpoint": one.path} for one in found.gone],
        "more": [{"ns_id": one.mount.ns, "mountpoint": one.path} for one in found.more],
        "gone_before": [
            {"ns_id": one.ns, "mountpoint": one.path, "seq": one.seq} for one in found.gone_before
        ],
        "refused": [
            {"seq": seq, "errno": why.errno, "reason": why.reason} for seq, why in found.refused
        ],
        "allowed": list(found.allowed),
        "impossible": list(found.impossible),
        "elsewhere": list(found.elsewhere),
        "differs": found.differs,
    }


def _as_json(answer: WhatIf) -> str:
    refused = answer.refused
    return json.dumps(
        {
            "consequences": json.loads(answer.frame.to_json(orient="records")),
            "refused": refused and {"errno": refused.errno, "reason": refused.reason},
        },
        indent=1,
    )
