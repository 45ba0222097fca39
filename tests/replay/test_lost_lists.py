# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A part of a list is lost, as the ring was full: what was in that part is still there."""

from __future__ import annotations

from mnttrace.capture.join.events import RoundBegan, RoundEnded
from tests.replay.build import ME, NS, Core, M, after, call, detached, everything, listed, table

ROOT = M(1001)
# Two mounts of one file system; only A passes on what is mounted on it.
A, B = M(1002, ROOT, "/A", minor=7, group=3), M(1003, ROOT, "/B", minor=7)
ON_A, ON_B = M(1004, A, "/A/m", group=9), M(1005, B, "/B/m")


def test_what_a_list_without_its_first_part_lacks_did_not_go() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    core.take(everything([ROOT, A, B, ON_A, ON_B]))
    rest = after(B, is_first=False)
    core.take(detached(ME, ON_A), call("umount2", rest, path="/A/m", last_detached=1004, seq=5))
    assert core.effects() == [(5, "detach", "direct", "kernel", 1004)]


def test_nor_what_a_list_lacks_that_is_said_to_be_cut() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    core.take(everything([ROOT, A, B, ON_A, ON_B]))
    rest = after(ROOT, A, B)
    rest.is_last = False
    core.take(
        detached(ME, ON_A),
        call("umount2", rest, path="/A/m", last_detached=1004, seq=5, is_cut=True),
    )
    assert core.effects() == [(5, "detach", "direct", "kernel", 1004)]


def test_nor_what_a_survey_lacks_that_lost_its_first_part() -> None:
    core = Core()
    core.take(everything([ROOT, A, B]))
    core.take(RoundBegan(0, "end"), table(ROOT, A, B, reason="end"))
    core.take(listed(B, is_first=False), RoundEnded(0, "end", [NS]))
    assert core.effects() == []
