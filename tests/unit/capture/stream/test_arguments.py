# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Paths of calls, as given and from the root of the namespace."""

from __future__ import annotations

import pytest

from mnttrace.capture.stream.arguments import Base, Bases, root_of, source_of, target_of
from mnttrace.linux.flags import MOUNT
from mnttrace.linux.syscalls import BY_NAME
from mnttrace.probes import records as kernel
from mnttrace.probes.records import PathRecord

ROOT_MOUNT, BASE_MOUNT = 7, 8


def base(kind: int, path: str, mntns: int = 1) -> Base:
    """Where a path begins."""
    fields = dict.fromkeys(PathRecord._fields, 0)
    record = PathRecord(**fields | {"base": kind, "mntns": mntns, "mount_unique": BASE_MOUNT})
    return Base(record, path)


def target(text: str, begins: Base | None = None, chroot: Base | None = None) -> str:
    """What mount(2) has as its target's path."""
    bases: Bases = {}
    if begins:
        bases[1] = begins
    if chroot:
        bases[kernel.ARGUMENT_CHROOT] = chroot
    return target_of(BY_NAME["mount"], {1: text}, bases, ROOT_MOUNT)[1]


JAIL = base(kernel.BASE_ROOT, "/srv/jail")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/mnt", "/srv/jail/mnt"),
        ("/", "/srv/jail"),
        ("//a/./b/", "/srv/jail/a/b"),
        ("/../../mnt", "/srv/jail/mnt"),
        ("/proc/self/root/mnt", "/srv/jail/mnt"),
        ("/proc/thread-self/root", "/srv/jail"),
        ("/proc/self/rooted", "/srv/jail/proc/self/rooted"),
    ],
)
def test_absolute_paths_in_a_chroot(text: str, path: str) -> None:
    assert target(text, chroot=JAIL) == path
    # The page was not in memory when the call began: it was taken for relative.
    assert target(text, base(kernel.BASE_CWD, "/srv/jail/home"), JAIL) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [("/mnt", "/mnt"), ("/", "/"), ("//a/./b/", "/a/b"), ("/a/../../b", "/b")],
)
def test_absolute_paths_elsewhere(text: str, path: str) -> None:
    assert target(text) == path


@pytest.mark.parametrize("text", ["none", "", "a"])
def test_what_is_no_path_or_begins_nowhere_is_as_given(text: str) -> None:
    assert target(text) == target(text, chroot=JAIL) == text


@pytest.mark.parametrize(
    ("text", "working", "path"),
    [
        ("a", "/srv/jail/home", "/srv/jail/home/a"),
        ("../../../a", "/srv/jail/home", "/srv/jail/a"),
        (".", "/srv/jail", "/srv/jail"),
        ("..", "/srv/jail", "/srv/jail"),
        ("../../a", "/srv/jailed/home", "/srv/a"),
        ("../a", "/srv", "/a"),
    ],
)
def test_relative_paths_leave_a_chroot_only_if_they_begin_outside(
    text: str, working: str, path: str
) -> None:
    assert target(text, base(kernel.BASE_CWD, working), JAIL) == path


def test_descriptors_in_a_chroot() -> None:
    inside = base(kernel.BASE_PROC_FD, "/srv/jail/home")
    assert target("/proc/self/fd/3", inside, JAIL) == "/srv/jail/home"
    assert target("/proc/self/fd/3/a", inside, JAIL) == "/srv/jail/home/a"
    assert target("/proc/self/fd/3/../../../a", inside, JAIL) == "/srv/jail/a"
    outside = base(kernel.BASE_PROC_FD, "/home")
    assert target("/proc/self/fd/3/a", outside, JAIL) == "/home/a"


def test_what_has_no_root_keeps_its_paths() -> None:
    detached = base(kernel.BASE_ROOT, "/somewhere", mntns=0)
    assert target("/mnt", chroot=detached) == "/mnt"
    assert root_of({kernel.ARGUMENT_CHROOT: detached}) is None
    assert root_of({kernel.ARGUMENT_CHROOT: JAIL}) == "/srv/jail"
    assert root_of({}) == "/"


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        (MOUNT["MS_BIND"], "/srv/jail/dev/disk"),
        (MOUNT["MS_MOVE"], "/srv/jail/dev/disk"),
        (0, "/dev/disk"),
        (MOUNT["MS_REMOUNT"] | MOUNT["MS_BIND"], "/dev/disk"),
    ],
)
def test_only_what_is_bound_or_moved_has_a_path(flags: int, path: str) -> None:
    bases = {kernel.ARGUMENT_CHROOT: JAIL}
    values = (0, 0, 0, flags, 0, 0)
    assert source_of(BY_NAME["mount"], values, {0: "/dev/disk"}, bases) == ("/dev/disk", path)


def test_the_mount_that_a_root_directory_is() -> None:
    def leads_to(text: str) -> int | None:
        return target_of(BY_NAME["mount"], {1: text}, {}, ROOT_MOUNT)[2]

    assert leads_to("/") == leads_to("/proc/self/root/") == ROOT_MOUNT
    assert leads_to("/mnt") is leads_to("") is None
