# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces in which something happens before they can be watched: `ambiguous`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.scenarios import HOOKS, WALK
from tests.replay.told import AnyRow, Told, name, paths, told

every = pytest.mark.parametrize("path", paths("ambiguous"), ids=name)
TIMES = 5
THREADS = [f"c{time}{letter}" for time in range(1, TIMES + 1) for letter in "ab"]


def births(run: Told) -> list[int]:
    """The namespaces that were made, in their order: each but one receives a mount, the others
    have two threads."""
    return [call["ns_target_id"] for call in run.calls(syscall="unshare")]


def received(run: Told) -> list[tuple[str, int, AnyRow, AnyRow]]:
    """The source of each mount that was received, where, and its mount(2) and umount2(2)."""
    sources = [f"born-{time}" for time in range(1, TIMES + 1)]
    outside = run.namespace("outside")
    mounts = run.calls(syscall="mount", ns_id=outside)
    umounts = run.calls(syscall="umount2", ns_id=outside)
    assert [call["source"] for call in mounts] == sources
    return list(zip(sources, births(run)[::2], mounts, umounts, strict=True))


@every
def test_each_namespace_receives_one_mount(path: Path) -> None:
    run = told(path)
    for source, born, mount, _ in received(run):
        came = run.of(source, action="attach")
        assert sorted((row["ns_id"], row["via"]) for row in came) == sorted(
            [
                (run.namespace("outside"), "direct"),
                (run.namespace("peer"), "peer"),
                (born, "slave"),
            ]
        )
        assert {(row["seq"], row["evidence"]) for row in came} == {(mount["seq"], "kernel")}
        assert {row["mountpoint"] for row in came} == {"/srv/shared/born"}


@every
def test_each_mount_goes_once_and_no_other_call_is_blamed(path: Path) -> None:
    run = told(path)
    ambiguous = 0
    for source, born, _, umount in received(run):
        went = {row["ns_id"]: row for row in run.of(source, action="detach")}
        outside, peer, there = (
            went.pop(key) for key in (run.namespace("outside"), run.namespace("peer"), born)
        )
        assert went == {}
        for row, via in ((outside, "direct"), (peer, "peer")):
            assert (row["seq"], row["via"], row["evidence"]) == (umount["seq"], via, "kernel")
        if there["evidence"] == "ambiguous":
            # The namespace ended before it was looked at: with the umount, or with that.
            ambiguous += 1
            assert (there["via"], there["seq"], there["pid"]) == ("namespace-death", None, None)
        else:
            assert (there["seq"], there["via"]) == (umount["seq"], "slave")
            assert there["copy_of_unique"] == outside["mnt_id_unique"]
    if run.backend == HOOKS:
        assert ambiguous == 0  # all namespaces are watched from their birth on
    if run.backend == WALK:
        assert ambiguous > 0


@every
def test_threads_in_a_new_namespace_are_told_apart(path: Path) -> None:
    run = told(path)
    for thread in THREADS:
        born = births(run)[1::2][int(thread[1]) - 1]
        for source in (f"{thread}-{number}" for number in (1, 2, 3)):
            came, went = run.of(source)
            assert (came["action"], came["ns_id"], came["via"]) == ("attach", born, "direct")
            assert run.call(came)["source"] == source
            assert (went["action"], went["ns_id"]) == ("detach", born)
            if went["evidence"] == "kernel":
                call = run.call(went)
                assert (call["comm"], call["syscall"]) == (thread, "umount2")
                assert call["seq"] > came["seq"]
            else:
                assert run.backend == WALK


@every
def test_what_was_copied_is_not_ambiguous(path: Path) -> None:
    run = told(path)
    unsure = {row["source"].split("-")[0] for row in run.effects if row["evidence"] == "ambiguous"}
    assert unsure <= {"born", *THREADS}


@every
def test_all_mounts_of_the_namespaces_end_with_them(path: Path) -> None:
    run = told(path)
    for born in births(run):
        rows = [row for row in run.effects if row["ns_id"] == born]
        copied = {row["mnt_id_unique"] for row in rows if row["via"] == "namespace-copy"}
        came = {row["mnt_id_unique"] for row in rows if row["action"] == "attach"}
        ended = {row["mnt_id_unique"] for row in rows if row["action"] == "detach"}
        assert ended == came > copied
        changed = [row for row in rows if row["action"] == "change"]
        assert {row["mnt_id_unique"] for row in changed} == copied
        [propagation] = {row["propagation"] for row in changed}
        assert propagation == ("slave" if born in births(run)[::2] else "private")
