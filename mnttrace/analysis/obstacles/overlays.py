# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Why an overlay of some directories was refused: fs/overlayfs/super.c and params.c."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import Mount, MountId, Refused, Spot, lies_under
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Command, Reason
from mnttrace.linux.overlay import Layers, layers_of, told

_DEEPEST = 2  # FILESYSTEM_MAX_STACK_DEPTH
# File systems whose directories cannot be the upper one: their entries are to be asked for again
# (ovl_dentry_remote()). Of FUSE and NFS it depends on how they are mounted.
_NO_UPPER = {"overlay", "nfs", "nfs4", "9p", "cifs", "smb3", "ceph", "afs", "vboxsf", "fuse"}
_NO_LAYER = {"vfat", "msdos", "exfat", "autofs"}  # ovl_dentry_weird()


class _Layer(NamedTuple):
    """A directory of an overlay: its option, its path as given, and where that leads."""

    option: str
    path: str
    spot: Spot


def overlay(attempt: Attempt) -> Reason | None:
    """Why an overlay was refused; None if the tables do not tell, or if none was to be made.

    Raises:
        KeyError, Refused: as :func:`calls.spot_of`.
    """
    row = attempt.row
    given = _given(attempt)
    if given is None:
        return None
    # The working directory is not recorded.
    layers = [
        _Layer(option, path, attempt.inside(path))
        for option, path in _named(given)
        if path.startswith("/")
    ]
    match row["error"]:
        case "EINVAL":
            return next(_invalid(attempt, layers), None)
        case "ELOOP":
            return _overlapping(layers)
        case "EBUSY":
            return _in_use(attempt, layers)
    return None


def _given(attempt: Attempt) -> Layers | None:
    row = attempt.row
    if row["fstype"] != "overlay" or not row["error"]:
        return None
    if row["syscall"] == "mount" and calls.action_of(row) == "new":
        return layers_of(row["data"])
    if row["syscall"] == "fsconfig" and row["fs_context"] is not None:
        before = attempt.facts.configured(row["fs_context"], row["seq"])
        return told([*before, row["data"]])
    return None


def _named(layers: Layers) -> Iterator[tuple[str, str]]:
    if layers.upper:
        yield "upperdir", layers.upper
    if layers.work:
        yield "workdir", layers.work
    yield from (("lowerdir", path) for path in layers.lower)


def _invalid(attempt: Attempt, layers: list[_Layer]) -> Iterator[Reason]:
    """What the kernel answers with EINVAL, in the order in which it looks."""
    by_option = {layer.option: layer for layer in reversed(layers)}
    upper, work = by_option.get("upperdir"), by_option.get("workdir")
    for layer in layers:
        yield from _not_supported(attempt, layer)
    if upper:
        yield from _not_copied(attempt, upper)
    if upper and work:
        yield from _apart(attempt, upper, work)
    for layer in layers:
        if layer.option != "workdir" and _depth(attempt, layer.spot) >= _DEEPEST:
            reason = f"{_name(layer)} is on an overlay of an overlay: that is as deep as it goes"
            yield _wrong(reason, "take a directory that is on no overlay", layer.spot.mount)
    for layer in layers:
        if layer.option == "lowerdir":
            yield from _not_copied(attempt, layer)


def _name(layer: _Layer) -> str:
    return f"its {layer.option}, {layer.path},"


def _wrong(reason: str, words: str, *mounts: MountId, errno: str = "EINVAL") -> Reason:
    return Reason(Refused(errno, reason, *mounts, kind="overlay-layers"), Advice(words))


def _not_supported(attempt: Attempt, layer: _Layer) -> Iterator[Reason]:
    mount, facts = layer.spot.mount, attempt.facts
    fstype = facts.fstype(mount)
    words = f"take a {layer.option} on another file system"
    if fstype in _NO_LAYER:
        yield _wrong(f"{_name(layer)} is on {fstype}, which cannot be a layer", words, mount)
    if layer.option != "upperdir":
        return
    if fstype.partition(".")[0] in _NO_UPPER:
        may = "cannot" if fstype == "overlay" else "may be one that cannot"
        yield _wrong(f"{_name(layer)} is on {fstype}, which {may} be written through", words, mount)
    if facts.is_read_only(mount, attempt.row["seq"]):
        words = "make it writable, or leave out upperdir and workdir: the overlay is read-only then"
        yield _wrong(f"{_name(layer)} is on a read-only mount", words, mount)


def _apart(attempt: Attempt, upper: _Layer, work: _Layer) -> Iterator[Reason]:
    if upper.spot.mount != work.spot.mount:
        reason = "its upperdir and workdir are not on one mount"
        words = f"take a workdir on the mount of {upper.path}, beside it"
        yield _wrong(reason, words, upper.spot.mount, work.spot.mount)
    elif _nested(upper.spot, work.spot):
        reason = "its upperdir and workdir are one directory, or one is in the other"
        yield _wrong(reason, f"take a workdir beside {upper.path}", upper.spot.mount)


def _nested(one: Spot, other: Spot) -> bool:
    return lies_under(one.place, other.place) or lies_under(other.place, one.place)


def _not_copied(attempt: Attempt, layer: _Layer) -> Iterator[Reason]:
    """What keeps clone_private_mount() from a copy of the mount of a directory."""
    mount = attempt.tables.mounts[layer.spot.mount]
    if mount.unbindable:
        path = attempt.tables.path(mount.id)
        refused = Refused(
            "EINVAL", f"{_name(layer)} is on an unbindable mount", mount.id, kind="unbindable"
        )
        command = Command(("mount", "--make-private", path))
        yield Reason(refused, Advice("let it be bound", (command,)))
    on_it, is_certain = attempt.locked_on(layer.spot)
    if on_it:
        may = "is" if is_certain else "may be"
        reason = f"below {_name(layer)} {may} a locked mount: what that hides would be shown"
        locked = tuple(child.id for child in on_it)
        refused = Refused("EINVAL", reason, *locked, kind="hidden")
        yield Reason(refused, attempt.unmount_originals(locked))


def _depth(attempt: Attempt, spot: Spot) -> int:
    """How many overlays are on top of each other where a spot is."""
    mount = attempt.tables.mounts[spot.mount]
    if attempt.facts.fstype(mount.id) != "overlay":
        return 0
    below = [_depth(attempt, layer.spot) for layer in _layers_of(attempt, mount)]
    return 1 + max(below, default=0)


def _overlapping(layers: list[_Layer]) -> Reason | None:
    """Two directories of one overlay that are one, or of which one is in the other (ELOOP)."""
    for one, other in combinations(layers, 2):
        if one.spot.mount == other.spot.mount and _nested(one.spot, other.spot):
            reason = f"{_name(one)} and {_name(other)[:-1]} are one directory, or nested"
            words = "take directories that do not contain each other"
            return _wrong(reason, words, one.spot.mount, errno="ELOOP")
    return None


def _in_use(attempt: Attempt, layers: list[_Layer]) -> Reason | None:
    """Which other overlay uses a directory as its upper or working one (EBUSY)."""
    tables = attempt.tables
    wanted = {_identity(attempt, layer.spot): layer for layer in layers}
    overlays: dict[str, list[Mount]] = {}
    for mount in tables.mounts.values():
        if attempt.facts.fstype(mount.id) == "overlay":
            overlays.setdefault(mount.device, []).append(mount)
    for of_it in overlays.values():
        for used in _layers_of(attempt, of_it[0]):
            layer = wanted.get(_identity(attempt, used.spot))
            if layer is None or used.option == "lowerdir":
                continue
            reason = f"{_name(layer)} is the {used.option} of another overlay"
            refused = Refused(
                "EBUSY", reason, *(mount.id for mount in of_it), kind="overlay-in-use"
            )
            commands = [
                Command(("umount", tables.path(one.id)), one.ns)
                for one in of_it
                if isinstance(one.ns, int)
            ]
            words = "unmount that everywhere, or take directories of its own"
            return Reason(refused, Advice(words, tuple(commands)))
    if not layers:
        return None
    reason = "its directories may be in use by another overlay, which no mount table shows"
    words = "take an upperdir and a workdir that no overlay uses"
    return Reason(Refused("EBUSY", reason, kind="overlay-in-use"), Advice(words))


def _identity(attempt: Attempt, spot: Spot) -> tuple[str, str]:
    return attempt.tables.mounts[spot.mount].device, spot.place


def _layers_of(attempt: Attempt, mount: Mount) -> Iterator[_Layer]:
    """The directories of a mounted overlay that still can be found by their paths.

    Their options have the paths of where it was mounted: of the call's namespace, if that is known,
    else of the host's, or of the mount's own.
    """
    facts, tables = attempt.facts, attempt.tables
    call = facts.mounting(mount.id)
    given = Layers()
    places = [mount.ns, facts.home, attempt.row["ns_id"]]
    if call is not None:
        places.insert(0, call["ns_id"])
        context = call["fs_context"]
        given = layers_of(call["data"] or "")
        if context is not None:
            given = told(facts.configured(context, call["seq"]))
    if not any(given):
        given = layers_of(facts.super_options(mount.id))
    for option, path in _named(given):
        for ns in dict.fromkeys(places):
            if path.startswith("/") and tables.roots.get(ns) in tables.mounts:
                yield _Layer(option, path, tables.resolve(ns, os.path.normpath(path)))
