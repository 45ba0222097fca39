# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace why`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnttrace.commands._common import mounts_now, namespace_now, opened
from mnttrace.errors import BadInput

if TYPE_CHECKING:
    from mnttrace.analysis.diagnosis.answers import Why


@click.command("why")
@click.argument("words", nargs=-1, metavar="[RECORDING] TARGET")
@click.option(
    "--live", is_flag=True, help="Use the mount tables as they are now, without RECORDING."
)
@click.option(
    "--in",
    "within",
    metavar="NAMESPACE",
    help="Say why it is not there: the name of a container, pod, unit or process, a pid, or host.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(words: tuple[str, ...], live: bool, within: str | None, as_json: bool) -> None:
    """Explain a mount: who has it, how it came there, what uses it, and what to do.

    TARGET is a path, a device (8:1), a source (/dev/loop0), a mount id, a namespace (mnt:[N], or as
    it is called in other answers), the name or id of a container, a pod, a unit, or a pid.
    """
    if len(words) != (1 if live else 2):
        raise BadInput(
            f"{len(words)} arguments",
            "mnttrace why RECORDING TARGET, or mnttrace why --live TARGET",
        )
    answer = _ask_now(words[0], within) if live else opened(Path(words[0])).why(words[1], within)
    if as_json:
        click.echo(_as_json(answer))
        return
    from mnttrace.report.why import lines

    for line in lines(answer):
        click.echo(line)


def _ask_now(target: str, within: str | None) -> Why:
    from mnttrace.analysis.diagnosis.situation import used_by

    meant, within = _now(target), within and _now(within)
    with mounts_now() as run:
        answer = run.why(meant, within)
        if meant != target:
            is_number = target.isdecimal()
            note = f"{target} is the pid of a process in {meant}" if is_number else ""
            if is_number and answer.diagnosis.has_mount_id(int(target)):
                note += "; it is also a mount id"
            note = note or f"{target} is {meant}, symbolic links resolved"
            answer = dataclasses.replace(answer, notes=(note, *answer.notes))
        return used_by(answer, _users(answer))


def _now(text: str) -> str:
    """The mount namespace of a process, as "mnt:[N]"; a path with its symbolic links resolved; any
    other text as it is."""
    return os.path.realpath(text) if text.startswith("/") else namespace_now(text)


def _users(answer: Why) -> dict[int, list[dict[str, Any]]]:
    """The processes that use these mounts now, by mount; not their root directories, as all do."""
    from mnttrace.capture.survey.users import users

    asked = {
        one.mount["mnt_id_unique"] or one.mount["mount_id"]: one.mount["device"]
        for one in answer.holders
        if one.mount["mountpoint"] != "/"
    }
    using: dict[int, list[dict[str, Any]]] = {}
    for user in users(asked):
        using.setdefault(user.mount, []).append(user._asdict())
    return using


def _as_json(answer: Why) -> str:
    values = {
        field.name: getattr(answer, field.name)
        for field in dataclasses.fields(answer)
        if field.name != "diagnosis"
    }
    return json.dumps(values, default=_plain, indent=1)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name != "attached"]
        return {"is": type(value).__name__} | {name: getattr(value, name) for name in fields}
    # A list in a frame.
    return value.tolist() if hasattr(value, "tolist") else str(value)
