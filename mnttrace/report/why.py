# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""An answer to `why` as text: the mount, who has it, how it came there, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.answers import Holder, Why
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis, Stopped, Typed
from mnttrace.analysis.diagnosis.origins import Step
from mnttrace.analysis.diagnosis.reach import Missing
from mnttrace.analysis.query.targets import IDENTITY
from mnttrace.report import preventions, refusals
from mnttrace.report.leaks import doubling, wanted
from mnttrace.report.names import numbered, operation, title, uncalled
from mnttrace.report.refusals import because
from mnttrace.report.remedies import Remedies
from mnttrace.report.text import count, safe

_SHOWN = 20  # holders, failures, users and commands that are listed
_SHOWN_CHANGES = 3
_SHOWN_OF_GROWTH = 2  # of mounts that are all alike
_KINDS = {
    "held": "HELD: inherited when the namespace was made; the original is gone, this copy stays",
    "residue": "RESIDUE: propagated there; the original is gone, this copy stays",
    "race": "held for a while: inherited when the namespace was made, and there longer than the "
    "original",
    "escape": "ESCAPE: propagated to the host from a container",
    "container-to-container": "propagated there from another container",
    "host-to-container": "propagated there from the host",
    "other": "propagated there from another namespace",
}


def lines(answer: Why) -> Iterator[str]:
    """The answer of `run.why`, line by line."""
    remedies = Remedies(answer.diagnosis, answer.imported)
    yield from map(safe, answer.notes)
    if answer.target_kind == "namespace":
        if answer.traced:
            yield f"{title(answer.namespace)}: what it has from others, and others from it"
            nothing = "no mount was propagated to it or from it, and it holds none"
        else:
            is_told = all(one.mount["device"] for one in answer.holders)
            far = "" if is_told else ", as far as the tables tell"
            yield f"{title(answer.namespace)}: what it has mounted and the host has not{far}"
            nothing = "all its file systems are mounted on the host, too"
        if not answer.holders:
            yield f"  nothing: {nothing}"
            return
        yield from _mounts(answer, answer.holders)
    elif not answer.holders and not answer.notes:
        yield "nothing was mounted there while this was recorded"
    for number, holders in enumerate(_file_systems(answer)):
        if number:
            yield ""
        yield _what(answer, holders[0])
        yield from _mounts(answer, holders)
    for absence in answer.missing:
        yield from ("", _missing(absence.missing))
        if absence.prevention or absence.not_tried:
            yield "To have it there:"
            told = preventions.lines(absence.prevention, absence.not_tried, answer.diagnosis)
            yield from (f"    {line}" for line in told)
    for one in answer.unexplained:
        yield f"\nnot in {title(one.namespace)}: {_UNSTOPPED[one.reason]}"
    if answer.missing_more:
        yield f"nor in {count(answer.missing_more, 'more namespace')}: --in NAMESPACE says why"
    for row in answer.failed[-_SHOWN:]:
        yield from ("", f"failed: {operation(row)}")
        if row.get("reason"):
            yield f"    because {because(row)}"
            if row["since"]:
                yield f"    since {operation(row['since'])}"
            yield from (f"    {line}" for line in refusals.advice(row, remedies))
    if not answer.traced:
        yield ""
        yield "These are only mount tables: mnttrace record shows who mounted what, and when."
    there = [one for one in answer.holders if one.mount["present"]]
    yield from _remedies(answer, there, remedies)


def _file_systems(answer: Why) -> Iterator[list[Holder]]:
    """The mounts that were asked for by what they show; none of a namespace."""
    found: dict[tuple[object, ...], list[Holder]] = {}
    for one in answer.holders if answer.target_kind != "namespace" else []:
        key = tuple(one.mount[name] for name in IDENTITY)
        if not one.mount["device"]:
            key += one.mount["ns_id"], one.mount["mount_id"]
        found.setdefault(key, []).append(one)
    yield from found.values()


def _mounts(answer: Why, holders: list[Holder]) -> Iterator[str]:
    """Some mounts: how many there are, and each with how it came and went."""
    there = [one for one in holders if one.mount["present"]]
    gone = [one for one in holders if not one.mount["present"]]
    yield f"  {count(len(there), 'mount')} in {count(_namespaces(there), 'mount namespace')}" + (
        f"; {len(gone)} more {'was' if len(gone) == 1 else 'were'} there and "
        f"{'is' if len(gone) == 1 else 'are'} gone"
        if gone
        else ""
    )
    for growth in answer.growth:
        yield ""
        yield from doubling(growth, answer.diagnosis)
    shown = _SHOWN_OF_GROWTH if answer.growth else _SHOWN
    for holder in there[:shown]:
        yield ""
        yield from _holder(answer, holder)
    if len(there) > shown:
        yield from ("", f"{len(there) - shown} more: --json has all of them")
    if there:
        # One that was asked for and is gone is told as well, if none of those is there.
        is_there = any(holder.is_named for holder in there)
        gone = [] if is_there else [holder for holder in gone if holder.is_named]
    for holder in gone:
        if holder.mount["ns_id"] == answer.diagnosis.home or holder is gone[-1]:
            yield ""
            yield from _holder(answer, holder)


def _what(answer: Why, holder: Holder) -> str:
    mount = holder.mount
    root = "" if mount["root"] in ("/", "", None) else f", of which {safe(mount['root'])}"
    if mount["root"] == "":
        root = ", of which part is not told"
    device = f"device {safe(mount['device'])}" if mount["device"] else "device not told"
    what = f"{safe(mount['fstype'])} {safe(mount['source'])}, {device}"
    return f"{what}{root} ({answer.target_kind})"


def _holder(answer: Why, holder: Holder) -> Iterator[str]:
    mount, diagnosis = holder.mount, answer.diagnosis
    untold = diagnosis.untold.get(mount["ns_id"], frozenset())
    tags = [f"{tag}:{mount[tag]}" for tag in ("shared", "master") if mount[tag] is not None]
    state = " ".join(tags) or str(mount["propagation"])
    state = "propagation not told" if state == "unknown" else state
    gone = "" if mount["present"] else ", gone"
    number = "" if "mount_id" in untold else f" as mount {mount['mount_id']}"
    yield f"{_name(holder)}: {safe(mount['mountpoint'])}{number}, {state}{gone}"
    if holder.covered_by is not None:
        yield f"    {_covered(holder.covered_by, 'parent_id' in untold)}"
    if holder.kind:
        yield f"    {_KINDS[holder.kind]}"
    if holder.wanted and mount["present"]:
        yield f"    wanted: {wanted((holder.steps[0].effect or {})['via'])}"
    yield from (f"    {line}" for line in _gone(holder, diagnosis))
    if holder.stopped is not None:
        yield f"    {_stopped(holder.stopped)}"
    if holder.follows is not None:
        yield "    " + (
            "a umount on the host propagates to it"
            if holder.follows
            else "a umount on the host does not propagate to it: it keeps the file system busy"
        )
    yield from (f"    {line}" for line in _changes(holder, diagnosis))
    for step in holder.steps if answer.traced else ():
        yield from (f"    {line}" for line in _step(step, diagnosis))
    for user in holder.users[:_SHOWN]:
        when = f" at {user['ts']:%H:%M:%S}" if user.get("ts") else ""
        yield (
            f"    in use by {safe(user['comm'])}[{user['pid']}]{when}: "
            f"{user['how']} {safe(user['path'])}"
        )
    if len(holder.users) > _SHOWN:
        yield f"    and {len(holder.users) - _SHOWN} more uses of it"


def _covered(by: Row, is_likely: bool) -> str:
    """What hides a mount from paths."""
    what = f"{safe(by['fstype'])} {safe(by['source'])} at {safe(by['mountpoint'])}"
    likely = ", if later lines are later mounts" if is_likely else f", mount {by['mount_id']}"
    return f"covered by {what}{likely}: paths do not lead to it"


def _changes(holder: Holder, diagnosis: Diagnosis) -> Iterator[str]:
    """What changed it, the last change first."""
    for effect, cause in holder.changes[: -_SHOWN_CHANGES - 1 : -1]:
        by = _who(effect, cause, diagnosis)
        yield f"{safe(effect['after'])} since {by}; before {safe(effect['before'])}"
    if len(holder.changes) > _SHOWN_CHANGES:
        yield f"and {len(holder.changes) - _SHOWN_CHANGES} changes before"


def _step(step: Step, diagnosis: Diagnosis) -> Iterator[str]:
    effect = step.effect
    if effect is None:
        yield "older than the recording"
        return
    by = _who(effect, step.operation, diagnosis)
    if effect["via"] == "automount":
        yield f"the kernel mounted it at {safe(effect['mountpoint'])} on a look-up by {by}"
        return
    if step.how == "mounted":
        yield f"mounted at {safe(effect['mountpoint'])} by {by}"
        return
    origin = safe(effect["copy_of_path"] or "?")
    source = _source(effect, diagnosis.namespaces)
    if step.how == "bound":
        yield f"bound from {origin} by {by}"
        return
    if step.how == "inherited":
        yield f"inherited from {origin} in {source} at the birth of the namespace: {by}"
        if effect["before"] and effect["before"] != effect["after"]:
            yield f"  which made it {safe(effect['after'])}; it was {safe(effect['before'])}"
        return
    carrier = step.carrier or effect
    yield (
        f"propagated from {origin} in {source} through peer group {carrier['via_group'] or '?'}, "
        f"as a {effect['via']}: {by}"
    )
    when = " before the recording" if step.shared_before else ""
    when = f" since {operation(step.shared_since)}" if step.shared_since else when
    yield f"  {safe(carrier['via_path'] or '?')} there was shared{when}"
    if effect["evidence"] != "kernel":
        yield f"  evidence: {effect['evidence']}"


def _source(effect: Row, namespaces: Mapping[int, Row]) -> str:
    """The namespace of the mount that a copy was made of."""
    ns_id = effect["copy_of_ns_id"]
    return title(namespaces.get(ns_id) or {"label": f"mnt:[{effect['copy_of_ns'] or '?'}]"})


def _name(holder: Holder) -> str:
    return numbered({"ns": holder.mount["ns"]} | holder.namespace)


def _remedies(answer: Why, there: list[Holder], remedies: Remedies) -> Iterator[str]:
    if answer.remedy:
        if not answer.traced:
            yield "\nThe host does not have it: it is held, or that namespace's own. If it is held:"
        else:
            yield ""
        yield from remedies.lines(answer.remedy)
    elif answer.prevention or answer.not_tried:
        yield ""
    if any(one.is_wrong for one in there) or answer.prevention or answer.not_tried:
        yield "To keep it from happening again:"
        told = preventions.lines(answer.prevention, answer.not_tried, answer.diagnosis)
        yield from (f"    {line}" for line in told)
    users = dict.fromkeys(
        f"{safe(user['comm'])}[{user['pid']}]" for one in there for user in one.users
    )
    if users:
        yield from ("", "It is busy until these processes end, or stop using it:")
        yield f"    {', '.join(users)}"
    cut_off = [one for one in there if one.follows is False and not one.kind and not _is_root(one)]
    if cut_off:
        yield from ("", "A umount on the host does not propagate to all of these. To change that:")
        ways = list(dict.fromkeys(_to_reach(one) for one in cut_off))
        yield from (f"    {line}" for line in ways[:_SHOWN])
        if len(ways) > _SHOWN:
            yield f"    and so {count(len(ways) - _SHOWN, 'more namespace')}"


def _is_root(holder: Holder) -> bool:
    return bool(holder.mount["mountpoint"] == "/")


def _to_reach(holder: Holder) -> str:
    return (
        f"let umounts propagate to {_name(holder)}: make its copies slaves, not private "
        "(rslave in place of rprivate; MountFlags=slave; docker run -v …:rslave; "
        "mountPropagation: HostToContainer), or mount after it has started"
    )


def _stopped(stopped: Stopped) -> str:
    """Why a umount did not take it."""
    if stopped.barrier.kind == "locked":
        return "the umount came here, but this mount is locked"
    if stopped.barrier.kind == "mounts-on-it":
        others = ", ".join(map(safe, stopped.others))
        return f"the umount came here, and was stopped by what is mounted on it: {others}"
    return f"the umount did not come here: {way(stopped)}"


_UNSTOPPED = {
    "no-directory": "it has no mount of the directory",
    "open": "nothing keeps it from there now; it is older than what would let it through, or gone",
    "untold": "the mount tables do not tell why",
}


def _missing(one: Missing) -> str:
    """Why a mount did not come to a namespace."""
    return f"not in {title(one.namespace)}: {way(one.stopped)}"


_WAYS = {
    "sends-nothing": " and sends nothing to others",
    "sends-nothing-up": " and sends nothing up",
    "receives-nothing": " and receives nothing",
}


def way(stopped: Stopped) -> str:
    """Which mount cuts a namespace off, and since when."""
    what = _WAYS.get(stopped.barrier.kind, ", but of another peer group,")
    text = _typed(stopped.mount, what)
    return text if stopped.receiver is None else f"{text}; and {_typed(stopped.receiver)}"


def _typed(mount: Typed, what: str = "") -> str:
    """Like "/srv in host is private and sends nothing to others since …"."""
    where = f"{safe(mount.path)} in {title(mount.namespace)}"
    return f"{where} is {mount.type}{what}{_since(mount)}"


def _since(mount: Typed) -> str:
    if not mount.is_known:
        return ""
    return " since " + (operation(mount.since) if mount.since else "before the recording")


def _gone(holder: Holder, diagnosis: Diagnosis) -> Iterator[str]:
    """How a mount went."""
    if holder.gone is None:
        return
    effect, cause = holder.gone
    by = _who(effect, cause, diagnosis)
    lost = "LOST: " if holder.lost else ""
    match effect["via"]:
        case "expiry":
            yield f"the kernel took it away, as nobody used it: {by}"
        case "":
            yield f"it went: {by}"
        case "direct":
            yield f"unmounted by {by}"
        case "peer" | "slave":
            origin = safe(effect["copy_of_path"] or "?")
            where = _source(effect, diagnosis.namespaces)
            group = effect["via_group"] or "?"
            yield f"{lost}it went with {origin} in {where}, through peer group {group}: {by}"
        case "mountpoint-removed":
            yield f"{lost}its mount point was removed: {by}"
        case "namespace-death":
            yield "it went with its namespace"


def _who(effect: Row, cause: Row | None, diagnosis: Diagnosis) -> str:
    """The operation that had an effect, or else the thread."""
    return operation(cause) if cause else uncalled(effect["tid"], diagnosis.threads)


def _namespaces(holders: list[Holder]) -> int:
    return len({one.mount["ns_id"] for one in holders})
