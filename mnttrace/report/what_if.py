# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""An answer to `what-if` as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.commands import Command
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
from mnttrace.analysis.diagnosis.otherwise import Otherwise
from mnttrace.analysis.diagnosis.what_if import Consequence, WhatIf
from mnttrace.analysis.model.mounts import Namespace
from mnttrace.report.names import operation, title
from mnttrace.report.text import count, safe
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
            for mount in answer.in_the_way[:_SHOWN]:
                where = title(_namespace(answer.diagnosis, mount.mount.ns))
                yield f"    in the way: {safe(mount.path)}{_what(mount.facts)} in {where}"
            return
        yield from _consequences(answer, command)
    for one in answer.absent[:_SHOWN]:
        yield f"not in {title(one.namespace)}: {way(one.stopped)}"
    if len(answer.absent) > _SHOWN:
        yield f"nor in {count(len(answer.absent) - _SHOWN, 'other namespace')} that could have it"


def _consequences(answer: WhatIf, command: Command) -> Iterator[str]:
    """What a command does."""
    found = [
        (_consequence(one), one.effect.mount.ns)
        for one in answer.consequences
        if one.command is command
    ]
    yield from _alike(found, answer.diagnosis)
    if not found:
        yield "    changes nothing"


def _alike(found: Iterable[tuple[str, Namespace]], diagnosis: Diagnosis) -> Iterator[str]:
    """Texts, alike in several namespaces as one line."""
    alike: dict[str, list[Namespace]] = {}
    for text, ns in found:
        alike.setdefault(text, []).append(ns)
    for text in list(alike)[:_SHOWN]:
        namespaces = Counter(title(_namespace(diagnosis, ns)) for ns in alike[text])
        names = [name + (f" ({n} times)" if n > 1 else "") for name, n in namespaces.items()]
        more = len(names) - _NAMED
        where = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield f"    {text} in {where}"
    if len(alike) > _SHOWN:
        yield f"    and {len(alike) - _SHOWN} more: --json has all of them"


def _namespace(diagnosis: Diagnosis, ns: Namespace) -> Row:
    return diagnosis.namespaces.get(ns, {}) if isinstance(ns, int) else {}


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


def otherwise(found: Otherwise, diagnosis: Diagnosis) -> Iterator[str]:
    """The answer of `run.replaced`, line by line."""
    if found.differs:
        yield (
            f"the model does not follow this recording: {count(found.differs, 'mount')} at the end "
            "differ without any change; take the rest as a guess"
        )
    for what, some in (
        ("at the end there would not be", found.gone),
        ("at the end there would be, too", found.more),
    ):
        if some:
            yield f"{what}:"
            texts = [
                (f"{safe(one.path)}{_what(diagnosis.file_system(one.mount))}", one.mount.ns)
                for one in some
            ]
            yield from _alike(texts, diagnosis)
    if found.gone_before:
        yield "what is gone by the end, and would not have come either:"
        yield from _alike(((safe(one.path), one.ns) for one in found.gone_before), diagnosis)
    for seq, why in found.refused:
        yield f"refused would be {_operation(seq, diagnosis)}: {why.errno}, {safe(why.reason)}"
    for seq in found.allowed:
        yield f"not refused would be {_operation(seq, diagnosis)}"
    for seq in found.impossible:
        yield (
            f"not possible would be {_operation(seq, diagnosis)}: what it works on would not be "
            "there"
        )
    for seq in found.elsewhere:
        yield (
            f"another mount would be found by {_operation(seq, diagnosis)}, if the path exists "
            "below"
        )
    if not (
        found.gone
        or found.more
        or found.gone_before
        or found.refused
        or found.allowed
        or found.impossible
    ):
        yield "nothing would be otherwise"


def _operation(seq: int, diagnosis: Diagnosis) -> str:
    row = diagnosis.story.operation(seq)
    return operation(row) if row else f"operation {seq}"
