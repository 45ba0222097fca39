# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""An answer to `what-if` as text."""

from __future__ import annotations

from collections.abc import Iterator

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.commands import Command
from mnttrace.analysis.diagnosis.what_if import Consequence, WhatIf
from mnttrace.analysis.model.mounts import Mount
from mnttrace.report.names import count, title
from mnttrace.report.text import safe
from mnttrace.report.why import way

_SHOWN = 20  # consequences of a command, and namespaces that get nothing
_NAMED = 4  # namespaces in which the same happens
_SIGNS = {"attach": "+", "detach": "-", "move": ">", "change": "~"}


def lines(answer: WhatIf) -> Iterator[str]:
    """The answer of `run.what_if`, line by line."""
    last = ""
    for command, text in zip(answer.commands, answer.texts, strict=True):
        if text is not last:
            yield safe(text)
        last = text
        if answer.refused is not None and command is answer.refused.command:
            yield f"    refused, {answer.refused.errno}: {safe(answer.refused.reason)}"
            for mount in answer.refused.mounts[:_SHOWN]:
                where = title(_namespace(answer, mount.mount))
                yield f"    in the way: {safe(mount.path)}{_what(mount.facts)} in {where}"
            return
        yield from _consequences(answer, command)
    for one in answer.absent[:_SHOWN]:
        yield f"not in {title(one.namespace)}: {way(one.stopped)}"
    if len(answer.absent) > _SHOWN:
        yield f"nor in {count(len(answer.absent) - _SHOWN, 'other namespace')} that could have it"


def _consequences(answer: WhatIf, command: Command) -> Iterator[str]:
    """What a command does, alike in several namespaces as one line."""
    alike: dict[str, list[Row]] = {}
    for one in answer.consequences:
        if one.command is command:
            alike.setdefault(_consequence(one), []).append(_namespace(answer, one.effect.mount))
    if not alike:
        yield "    changes nothing"
    for text in list(alike)[:_SHOWN]:
        namespaces = [title(one) for one in alike[text]]
        more = len(namespaces) - _NAMED
        where = ", ".join(namespaces[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield f"    {text} in {where}"
    if len(alike) > _SHOWN:
        yield f"    and {len(alike) - _SHOWN} more: --json has all of them"


def _namespace(answer: WhatIf, mount: Mount) -> Row:
    names = answer.diagnosis.namespaces
    return names.get(mount.ns, {}) if isinstance(mount.ns, int) else {}


def _what(facts: Row) -> str:
    what = " ".join(safe(text) for key in ("fstype", "source") if (text := facts.get(key)))
    return what and f" ({what})"


def _consequence(one: Consequence) -> str:
    """Like "+ /srv/x (tmpfs data), shared, as a slave"."""
    effect = one.effect
    text = f"{_SIGNS[effect.action]} {safe(one.path)}{_what(one.facts)}"
    if effect.action == "attach":
        text += f", {effect.mount.propagation}"
    elif effect.action == "change" and effect.before is not None:
        text += f": {effect.before.propagation}, then {effect.mount.propagation}"
    return text + (f", as a {effect.via}" if effect.via in ("peer", "slave") else "")
