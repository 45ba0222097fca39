# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What calls did: attached, propagated, moved, changed, in small worlds."""

from __future__ import annotations

from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP
from mnttrace.capture.join.requests import ForgetNamespace
from mnttrace.linux.options import MNT_UNBINDABLE
from mnttrace.probes.records import (
    BY_RELEASE,
    HOW_COVERED,
    HOW_MADE,
    HOW_PROPAGATED,
    LIST_CHANGED,
)
from tests.replay.build import (
    ME,
    MS,
    NS,
    OTHER,
    YOU,
    Core,
    M,
    after,
    attached,
    birth,
    call,
    dentry,
    detached,
    entry,
    everything,
    made,
    survey,
)

ROOT = M(1, group=1)
THERE = M(101, ns=OTHER, master=1, minor=1)
NAMES = {dentry(ROOT, path): path for path in ("/a", "/b", "/c")}


def test_a_mount_and_its_copy_in_a_slave() -> None:
    core = Core()
    core.take(*everything([ROOT], [THERE]))
    new = M(2, ROOT, "/a", group=2, source="new")
    copy = M(102, THERE, "/a", ns=OTHER, master=2, minor=2)
    core.take(
        attached(ME, new, copy),
        call(
            "mount",
            made(new, entry(copy, HOW_PROPAGATED, origin=2)),
            seq=5,
            path="/a",
            names=NAMES,
        ),
    )
    assert core.effects() == [
        (5, "attach", "direct", "kernel", 2),
        (5, "attach", "slave", "kernel", 102),
    ]
    direct, copied = core.of("effects")
    assert (direct["mountpoint"], copied["mountpoint"]) == ("/a", "/a")
    assert (copied["copy_of_unique"], copied["via_group"], copied["via_path"]) == (2, 1, "/")


def test_a_mount_of_another_thread_is_left_to_its_own_call() -> None:
    core = Core()
    core.take(*everything([ROOT]))
    mine, yours = M(2, ROOT, "/a"), M(3, ROOT, "/b")
    core.take(
        attached(ME, mine),
        attached(YOU, yours),
        call("mount", made(mine, yours), seq=5, path="/a"),
        call("mount", made(mine, yours), seq=6, tid=YOU, path="/b"),
    )
    assert core.effects("seq", "mountpoint") == [(5, "/a"), (6, "/b")]


def test_where_no_report_says_whose_it_is_the_path_decides() -> None:
    core = Core(uses_fanotify=False)
    core.take(*everything([ROOT], is_watched=False))
    mine, yours = M(2, ROOT, "/a"), M(3, ROOT, "/b")
    core.take(call("mount", made(mine, yours), seq=5, path="/a", names=NAMES))
    core.take(call("mount", made(mine, yours), seq=6, path="/b", tid=YOU, names=NAMES))
    core.take(call("mount", made(M(4, ROOT, "/c")), seq=7, path="/where", names=NAMES))
    assert core.effects("seq", "mountpoint", "evidence") == [
        (5, "/a", "kernel"),
        (6, "/b", "kernel"),
        (7, "/c", "ambiguous"),
    ]


def test_a_umount_of_a_mount_whose_place_is_not_known() -> None:
    mine, yours = M(3, ROOT, "/a"), M(2, ROOT, "/b")
    named = {dentry(ROOT, "/b"): "/b"}
    for last, names in ((0, named), (3, {})):
        core = Core(uses_fanotify=False)
        core.take(*everything([ROOT], is_watched=False))
        core.take(call("mount", made(yours), seq=5, path="/b", tid=YOU, names=names))
        core.take(call("mount", made(mine), seq=6, path="/a", names=names))
        freed = {"last_detached": last, "known_by": BY_RELEASE}
        core.take(call("umount2", after(ROOT), seq=7, path="/a", **freed))
        core.take(call("umount2", after(ROOT), seq=8, path="/b", tid=YOU))
        assert core.effects("seq", "action", "mnt_id_unique")[2:] == [
            (7, "detach", 3),
            (8, "detach", 2),
        ]


def test_a_umount_and_the_copies_that_it_takes_along() -> None:
    core = Core()
    a, b = M(2, ROOT, "/a", group=2), M(102, THERE, "/a", ns=OTHER, master=2, minor=2)
    core.take(*everything([ROOT, a], [THERE, b]))
    core.take(
        detached(ME, a, b),
        call("umount2", after(ROOT), seq=5, path="/a", last_detached=102),
    )
    assert core.effects() == [
        (5, "detach", "direct", "kernel", 2),
        (5, "detach", "slave", "kernel", 102),
    ]


def test_a_lazy_umount_takes_what_is_mounted_below() -> None:
    core = Core()
    a = M(2, ROOT, "/a")
    b, c = M(3, a, "/a/b"), M(4, ROOT, "/c")
    core.take(*everything([ROOT, a, b, c]))
    core.take(detached(ME, a, b), call("umount2", seq=5, path="/a", flags_value=2, last_detached=3))
    assert core.effects("seq", "via", "mnt_id_unique") == [(5, "direct", 2), (5, "direct", 3)]


def test_before_linux_6_8_what_is_mounted_below_goes_first() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    a = M(2, ROOT, "/a")
    b, c = M(3, a, "/a/b"), M(4, a, "/a/c")
    d = M(5, c, "/a/c/d")
    core.take(*everything([ROOT, a, b, c, d]))
    core.take(detached(ME, d, c, b, a))
    core.take(call("umount2", seq=5, path="/a", flags_value=2, last_detached=2))
    assert core.effects("seq", "via", "mnt_id_unique") == [
        (5, "direct", unique) for unique in (5, 4, 3, 2)
    ]


def test_a_umount_whose_last_mount_is_not_known_takes_what_fits() -> None:
    core = Core()
    a, b = M(2, ROOT, "/a", group=2), M(102, THERE, "/a", ns=OTHER, master=2, minor=2)
    c = M(3, ROOT, "/c")
    core.take(*everything([ROOT, a, c], [THERE, b]))
    core.take(detached(ME, a, b, c))
    core.take(call("umount2", seq=5, path="/a", known_by=BY_RELEASE))
    core.take(call("umount2", seq=6, path="/c", known_by=BY_RELEASE))
    assert core.effects("seq", "mnt_id_unique") == [(5, 2), (5, 102), (6, 3)]


def test_a_mount_that_covers_what_is_unmounted_gets_its_parent() -> None:
    core = Core()
    a = M(2, ROOT, "/a")
    above = M(3, a, "/a")
    core.take(*everything([ROOT, a, above]))
    core.take(detached(ME, a), call("umount2", seq=5, path="/a", last_detached=2))
    assert core.effects("action", "via", "mnt_id_unique", "parent_unique") == [
        ("detach", "direct", 2, 1),
        ("move", "beneath", 3, 1),
    ]


def test_a_removed_mount_point_takes_its_mounts_along() -> None:
    core = Core()
    far = M(201, ns=OTHER, minor=1)
    a = M(202, far, "/a", ns=OTHER)
    on_it = M(203, a, "/a/b", ns=OTHER)
    core.take(*everything([ROOT], [far, a, on_it]))
    core.take(detached(ME, a, on_it), call("rmdir", seq=5, last_detached=203))
    assert core.effects("seq", "via", "mnt_id_unique") == [
        (5, "mountpoint-removed", 202),
        (5, "mountpoint-removed", 203),
    ]


def test_a_removal_that_detached_nothing_is_no_operation() -> None:
    core = Core()
    core.take(*everything([ROOT]))
    core.take(call("rmdir", seq=5))
    assert core.of("operations") == []


def test_the_last_thread_that_leaves_a_namespace_takes_it_down() -> None:
    core = Core()
    a = M(102, THERE, "/a", ns=OTHER)
    core.take(*everything([ROOT], [THERE, a]))
    core.take(detached(ME, THERE, a), call("setns", seq=5, ns=OTHER, ns_after=NS, ns_target=NS))
    assert core.effects() == [(5, "detach", "namespace-death", "kernel", 102)]


def test_what_it_detached_before_by_a_call_that_was_lost_went_before() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    a = M(102, THERE, "/a", ns=OTHER)
    core.take(*everything([ROOT], [THERE, a]))
    core.take(detached(ME, a), detached(ME, THERE))
    core.take(call("setns", seq=5, ns=OTHER, ns_after=NS, ns_target=NS))
    assert [row["seq"] for row in core.of("effects")] == [None]


def test_before_linux_6_8_the_root_of_a_namespace_goes_last() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    top = M(FIRST_MADE_UP + 101, ns=OTHER, minor=1)
    a = M(FIRST_MADE_UP + 102, top, "/a", ns=OTHER)
    core.take(*everything([ROOT], [top, a]))
    core.take(detached(ME, a, top))
    core.take(call("setns", seq=5, ns=OTHER, ns_after=NS, ns_target=NS))
    assert core.effects() == [(5, "detach", "namespace-death", "kernel", a.unique)]


def test_a_namespace_that_is_born_copies_the_mounts_of_its_maker() -> None:
    core = Core()
    a = M(2, ROOT, "/a", group=2)
    core.take(*everything([ROOT, a]))
    copies = M(101, ns=OTHER, group=1, minor=1), M(0, ns=OTHER)
    own = M(102, copies[0], "/a", ns=OTHER, group=2, minor=2)
    core.take(call("unshare", birth(copies[0], own), seq=5, ns_target=OTHER, ns_after=OTHER))
    assert core.effects("seq", "via", "mnt_id_unique", "copy_of_unique") == [
        (5, "namespace-copy", 102, 2)
    ]
    (row,) = [row for row in core.of("namespaces") if row["ns"] == OTHER]
    assert (row["seq"], row["parent_ns"]) == (5, NS)


def test_a_namespace_that_a_survey_listed_before_its_call_ended_is_told_too() -> None:
    core = Core()
    a = M(2, ROOT, "/a", group=2)
    core.take(*everything([ROOT, a]))
    top = M(101, ns=OTHER, group=1, minor=1)
    own = M(102, top, "/a", ns=OTHER, group=2, minor=2)
    core.take(survey(top, own))
    core.take(call("unshare", birth(top, own), seq=5, ns_target=OTHER, ns_after=OTHER))
    assert (5, "attach", "namespace-copy", "kernel", 102) in core.effects()


def test_a_namespace_gets_the_number_of_one_that_has_just_died() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    a = M(2, ROOT, "/a", group=2)
    core.take(*everything([ROOT, a]))
    for life in (1, 2, 3):
        top = M(100 * life + 1, ns=OTHER, group=1, minor=1)
        own = M(100 * life + 2, top, "/a", ns=OTHER, group=2, minor=2)
        born = {"seq": life, "tid": life, "ns_target": OTHER, "ns_after": OTHER}
        core.take(call("unshare", birth(top, own), **born))
        core.take(detached(life, own, top))
    core.take(*everything([ROOT, a], reason="end", alive=[NS]))
    effects = core.effects("seq", "tid", "action", "via", "evidence", "mnt_id_unique")
    assert sorted(effects, key=lambda effect: effect[-1]) == [
        one
        for life in (1, 2, 3)
        for one in (
            (life, life, "attach", "namespace-copy", "kernel", 100 * life + 2),
            (None, life, "detach", "namespace-death", "kernel", 100 * life + 2),
        )
    ]
    assert [row["seq"] for row in core.of("namespaces") if row["ns"] == OTHER] == [1, 2, 3]
    assert [one.key for one in core.ask(ForgetNamespace)] == [OTHER] * 3


def test_make_private_is_the_calls_and_what_follows_from_it_is_expected() -> None:
    core = Core()
    a, b = M(2, ROOT, "/a", group=7, master=3), M(102, THERE, "/a", ns=OTHER, master=7, minor=2)
    core.take(*everything([ROOT, a], [THERE, b]))
    private = M(2, ROOT, "/a")
    columns = {"seq": 5, "path": "/a", "flags_value": 1 << 18, "propagation": "private"}
    core.take(call("mount", after(private, reason=LIST_CHANGED), **columns))
    core.take(survey(THERE, M(102, THERE, "/a", ns=OTHER, master=3, minor=2)))
    assert core.effects("seq", "action", "via", "before", "after", "mnt_id_unique") == [
        (5, "change", "direct", "shared:7 master:3 rw", "private rw", 2),
        (5, "change", "slave", "master:7 rw", "master:3 rw", 102),
    ]


def test_a_recursive_change_is_about_all_below() -> None:
    core = Core()
    a = M(2, ROOT, "/a", group=2)
    b = M(3, a, "/a/b", group=3)
    core.take(*everything([ROOT, a, b]))
    changed = [ROOT, M(2, ROOT, "/a", flags=MNT_UNBINDABLE), M(3, a, "/a/b", flags=MNT_UNBINDABLE)]
    flags = (1 << 17) | 0x4000  # MS_UNBINDABLE | MS_REC
    core.take(call("mount", after(*changed), seq=5, path="/a", flags_value=flags))
    assert core.effects("seq", "via", "propagation", "mnt_id_unique") == [
        (5, "direct", "unbindable", 2),
        (5, "direct", "unbindable", 3),
    ]


def test_a_remount_of_a_file_system_shows_in_all_its_mounts() -> None:
    core = Core()
    a, b = M(2, ROOT, "/a", minor=9), M(3, ROOT, "/b", minor=9)
    core.take(*everything([ROOT, a, b]))
    read_only = M(2, ROOT, "/a", minor=9, super_flags=1)
    core.take(
        call("mount", after(read_only, reason=LIST_CHANGED), seq=5, path="/a", flags_value=32)
    )
    assert core.effects("seq", "via", "before", "after", "mnt_id_unique") == [
        (5, "super-block", "rw", "ro", 2),
        (5, "super-block", "rw", "ro", 3),
    ]


def test_a_remount_does_not_show_in_a_namespace_that_died_before() -> None:
    a, b = M(2, ROOT, "/a", minor=9), M(102, THERE, "/a", ns=OTHER, minor=9)
    read_only = after(M(2, ROOT, "/a", minor=9, super_flags=1), reason=LIST_CHANGED)
    # Kernel hooks report in order; what fanotify reports was before it was read.
    for backend, latency in (("walk", MS), ("kernel-hooks", 100 * MS)):
        core = Core(backend, uses_fanotify=backend == "walk")
        core.take(*everything([ROOT, a], [THERE, b]))
        core.take(detached(YOU, THERE, b))
        core.now += 10 * MS
        core.take(call("mount", read_only, seq=5, path="/a", flags_value=32, latency=latency))
        assert core.effects("seq", "via", "mnt_id_unique") == [(5, "super-block", 2)]


def test_it_does_in_one_that_may_have_died_after() -> None:
    a, b = M(2, ROOT, "/a", minor=9), M(102, THERE, "/a", ns=OTHER, minor=9)
    core = Core()
    core.take(*everything([ROOT, a], [THERE, b]))
    read_only = after(M(2, ROOT, "/a", minor=9, super_flags=1), reason=LIST_CHANGED)
    begun = core.now
    core.take(detached(YOU, THERE, b))
    core.take(call("mount", read_only, seq=5, path="/a", flags_value=32, monotonic=begun))
    assert core.effects("seq", "via", "mnt_id_unique") == [
        (5, "super-block", 2),
        (5, "super-block", 102),
    ]


def test_a_moved_mount_and_what_it_is_slipped_beneath() -> None:
    core = Core()
    a, b = M(2, ROOT, "/a"), M(3, ROOT, "/b")
    core.take(*everything([ROOT, a, b]))
    moved = M(2, ROOT, "/b")
    covers = entry(M(3, moved, "/b"), HOW_COVERED)
    columns = {"seq": 5, "path": "/b", "flags_value": 0x200}  # MOVE_MOUNT_BENEATH
    core.take(call("move_mount", made(entry(moved, HOW_MADE), covers), **columns))
    assert core.effects("action", "via", "mnt_id_unique", "mountpoint") == [
        ("move", "direct", 2, "/b"),
        ("move", "beneath", 3, "/b"),
    ]


def test_a_cut_list_is_made_good_by_the_next_one() -> None:
    core = Core()
    core.take(*everything([ROOT]))
    a, b = M(2, ROOT, "/a"), M(3, ROOT, "/b")
    core.take(attached(ME, a, b), call("mount", made(a), seq=5, path="/a", is_cut=True))
    core.take(call("umount2", after(ROOT, a, b), seq=6, path="/nowhere", result=0))
    assert core.effects("seq", "evidence", "mnt_id_unique") == [
        (5, "kernel", 2),
        (5, "snapshot", 3),
    ]


def test_of_two_taken_at_one_dentry_a_copy_is_of_the_one_that_it_receives_from() -> None:
    top = M(3, ROOT, "/a", group=2, minor=9)
    below = M(4, top, "/a/x", minor=8)
    copied_top = M(103, THERE, "/a", ns=OTHER, group=2, minor=9)
    copied = M(104, copied_top, "/a/x", ns=OTHER, minor=8)
    place = {"mountpoint": 77, "root": 78}
    core = Core()
    core.take(
        *everything([ROOT], [THERE]),
        attached(ME, top, copied_top),
        call("mount", made(entry(top, **place), entry(copied_top, HOW_PROPAGATED, 3, **place))),
        attached(ME, below, copied),
        call("mount", made(entry(below, **place), entry(copied, HOW_PROPAGATED, 4, **place))),
        detached(ME, top, below, copied, copied_top),
        call("umount2", seq=5, path="/a", flags="MNT_DETACH", flags_value=2, last_detached=103),
    )
    effects = core.effects("seq", "action", "via", "mnt_id_unique", "copy_of_unique")
    assert [one for one in effects if one[1] == "detach"] == [
        (5, "detach", "direct", 3, None),
        (5, "detach", "direct", 4, None),
        (5, "detach", "peer", 104, 4),
        (5, "detach", "slave", 103, 3),
    ]
