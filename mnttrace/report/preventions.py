# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What keeps mounts from coming, or going, again: as lines."""

from __future__ import annotations

from collections.abc import Iterator

from mnttrace.analysis.diagnosis.commands import Command, EndNamespace
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
from mnttrace.analysis.diagnosis.otherwise import Left
from mnttrace.analysis.diagnosis.preventions import Kind, Prevention
from mnttrace.analysis.diagnosis.rerun import ITSELF
from mnttrace.report.commands import line
from mnttrace.report.names import title
from mnttrace.report.text import count, safe

_SHOWN = 3  # operations that are to be others, and mounts that would not come
# How runtimes call what is to be done.
_SLAVES = (
    "slaves: unshare --propagation slave; MountFlags=slave; docker run -v …:rslave; "
    "mountPropagation: HostToContainer"
)
_SENDS = (
    "a shared mount, whose peers and slaves get what is mounted there: rshared; MountFlags=shared; "
    "mountPropagation: Bidirectional"
)
_SETTINGS: dict[Kind, str] = {
    "slaves": _SLAVES,
    "slaves-throughout": _SLAVES,
    "shared-before": "a shared mount, before the namespace is made",
    "shared-and-slaves": "a shared mount, before the namespace is made, and slaves there: "
    "MountFlags=slave; docker run -v …:rslave; mountPropagation: HostToContainer",
    "nothing-on-it": "nothing mounted on it; or that is unmounted first",
    "not-shared": "rslave in place of rshared; mountPropagation: HostToContainer in place of "
    "Bidirectional",
    "carrier-slave": "a slave where it is mounted: rslave in place of rshared; mountPropagation: "
    "HostToContainer in place of Bidirectional",
    "receives-nothing": "a private mount there, unless it needs what is mounted: rprivate; "
    "mountPropagation: None",
    "slave-copy": "a slave of what is bound, so that its umount takes nothing else",
    "not-removed": "a mount point that is not removed while others have something mounted there",
    "bind-alone": "bind in place of rbind",
    "bind-alone-and-private": "bind in place of rbind, and a private copy, which gets nothing of "
    "later ones",
    "sends": _SENDS,
    "sends-throughout": _SENDS,
    "receives": _SLAVES,
    "sends-and-receives": "a shared mount where it is mounted, and slaves there: MountFlags=slave; "
    "docker run -v …:rslave; mountPropagation: HostToContainer",
    "private-copy": "a private copy, which gets nothing of later ones",
}


def lines(
    prevention: Prevention | None,
    not_tried: str,
    diagnosis: Diagnosis,
) -> Iterator[str]:
    """How to keep it from happening again, line by line.

    Args:
        prevention: by the model; None: nothing that was tried helps, or nothing was tried.
        not_tried: why nothing was; "" if it was.
        diagnosis: of the recording.
    """
    if not_tried:
        yield f"not tried: {not_tried}; ask of a shorter recording, or try one by what-if --replace"
        return
    if prevention is None:
        yield "no other propagation type that was tried does that"
        return
    yield _SETTINGS[prevention.kind]
    for seq in list(prevention.changes)[:_SHOWN]:
        yield f"  {_change(seq, prevention.changes[seq], diagnosis)}"
    if len(prevention.changes) > _SHOWN:
        more = len(prevention.changes) - _SHOWN
        yield f"  and so for {count(more, 'more operation')}"
    if also := prevention.also:
        more = len(also) - _SHOWN
        names = ", ".join(_left(one, diagnosis) for one in also[:_SHOWN])
        yield f"  # not there either would be {names}" + (f" and {more} more" if more > 0 else "")
    otherwise = prevention.otherwise
    fails = sorted({*(seq for seq, _ in otherwise.refused), *otherwise.impossible})
    if otherwise.allowed:
        yield f"  # then not refused: operation {', '.join(map(str, otherwise.allowed[:_SHOWN]))}"
    if fails:
        yield f"  # then refused: operation {', '.join(map(str, fails[:_SHOWN]))}"


def _change(seq: int, commands: tuple[Command | None, ...], diagnosis: Diagnosis) -> str:
    """Like "after operation 3: mount --make-rslave / in process sh[12]"."""
    given = [one for one in commands if one is not ITSELF]
    if not given:
        return f"without operation {seq}"
    where = "in place of"
    if ITSELF in commands:
        where = "after" if commands[0] is ITSELF else "before"
    texts = [_command(one, diagnosis) for one in given]
    return f"{where} operation {seq}: {'; '.join(texts)}"


def _command(command: Command, diagnosis: Diagnosis) -> str:
    assert not isinstance(command, EndNamespace)
    where = diagnosis.namespaces.get(command.ns, {}) if isinstance(command.ns, int) else {}
    return f"{line(command, None)} in {title(where)}"


def _left(one: Left, diagnosis: Diagnosis) -> str:
    ns = one.mount.ns
    where = diagnosis.namespaces.get(ns, {}) if isinstance(ns, int) else {}
    return f"{safe(one.path)} in {title(where)}"
