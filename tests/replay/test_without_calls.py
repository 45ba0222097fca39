# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What no call accounts for: surveys that find differences, threads and namespaces that end."""

from __future__ import annotations

from mnttrace.capture.join.events import (
    LossesCounted,
    MountNamed,
    MountsChanged,
    NamespaceIdentified,
    NamespacesGone,
    RoundBegan,
    RoundEnded,
    ThreadChecked,
    ThreadIdentified,
    TimePassed,
    UsersFound,
)
from mnttrace.capture.join.identity import Identity, User
from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP
from mnttrace.capture.join.requests import (
    CheckNamespaces,
    CheckThread,
    FindUsers,
    ForgetNamespace,
    IdentifyNamespace,
    IdentifyThread,
    NameMount,
    SurveyBirth,
    SurveySome,
)
from mnttrace.capture.join.selection import Filter
from mnttrace.linux.mount_events import FAN_Q_OVERFLOW, MountEvent
from tests.replay.build import (
    ME,
    MS,
    NS,
    OTHER,
    THIRD,
    Core,
    M,
    after,
    attached,
    birth,
    call,
    detached,
    everything,
    listed,
    made,
    process,
    survey,
    table,
)

ROOT = M(1, group=1)
THERE = M(101, ns=OTHER, master=1, minor=1)
A = M(2, ROOT, "/a", source="a")
SECOND = 1000 * MS


def started(*namespaces: list[M], **setting: object) -> Core:
    core = Core(**setting)  # type: ignore[arg-type]
    core.take(*everything(*(namespaces or ([ROOT, A],))))
    return core


# ---- surveys


def test_a_difference_counts_if_another_survey_finds_it_again() -> None:
    core = started()
    new, ro = M(3, ROOT, "/b"), M(2, ROOT, "/a", source="a", flags=0x40)
    core.take(survey(ROOT, ro, new))
    assert core.effects() == []
    core.take(survey(ROOT, ro, new, at=core.now + SECOND))
    assert core.effects() == [
        (None, "change", "", "snapshot", 2),
        (None, "attach", "", "snapshot", 3),
    ]


def test_the_first_survey_of_a_namespace_leaves_a_mount_to_the_call_that_is_under_way() -> None:
    core = started([ROOT])
    new = M(102, THERE, "/a", ns=OTHER, source="new")
    core.take(attached(ME, new), survey(THERE, new))
    core.take(call("mount", made(new, ns=OTHER), seq=5, ns=OTHER, path="/a"))
    core.take(detached(ME, new))
    core.take(call("umount2", seq=6, ns=OTHER, path="/a", last_detached=102))
    core.take(LossesCounted(0, {}))
    assert core.effects() == [
        (5, "attach", "direct", "kernel", 102),
        (6, "detach", "direct", "kernel", 102),
    ]
    assert core.join.losses["lost_made"] == 0


def test_what_the_last_survey_finds_counts_at_once() -> None:
    core = started()
    moved = M(2, ROOT, "/b", source="a")
    core.take(*everything([ROOT, moved, M(3, moved, "/b/c")], reason="end"))
    assert core.effects("action", "evidence", "mountpoint") == [
        ("move", "snapshot", "/b"),
        ("attach", "snapshot", "/b/c"),
    ]


def test_what_went_unnoticed() -> None:
    core = started()
    core.take(*everything([ROOT], reason="end"))
    assert core.effects() == [(None, "detach", "", "snapshot", 2)]


def test_a_file_system_that_was_remounted_unnoticed() -> None:
    core = started()
    core.take(*everything([ROOT, M(2, ROOT, "/a", source="a", super_flags=1)], reason="end"))
    assert core.effects("via", "evidence", "after") == [("super-block", "snapshot", "ro")]


def test_a_namespace_that_calls_changed_is_surveyed_a_while_later() -> None:
    core = started()
    core.take(call("mount", seq=5, path="/a"))
    core.take(TimePassed(0))
    assert core.ask(SurveySome) == []
    core.take(TimePassed(core.now + SECOND))
    assert core.ask(SurveySome) == [SurveySome(frozenset({NS}))]
    core.take(TimePassed(0))
    assert core.ask(SurveySome) == []


def test_what_is_below_the_root_directory_of_all_processes_is_hidden() -> None:
    core = Core()
    below = M(1, minor=7)
    top = M(2, below, "/", group=1)
    core.take(RoundBegan(0, "start"), table(top, reason="start"), listed(below, top))
    core.take(RoundEnded(0, "start", [NS]))
    copies = M(201, ns=OTHER, minor=7), M(202, M(201, ns=OTHER, minor=7), "/", ns=OTHER, minor=2)
    core.take(call("unshare", birth(*copies), seq=5, ns_target=OTHER, ns_after=OTHER))
    assert core.effects("mnt_id_unique") == [(202,)]


def test_a_mount_that_no_table_names_is_asked_for() -> None:
    core = started()
    new = M(3, ROOT, "/b")
    core.take(attached(ME, new), call("mount", made(new), seq=5, path="/elsewhere"))
    assert core.ask(NameMount) == [NameMount(3, NS)]
    core.answer(MountNamed(0, 3, "/", "/b"))
    assert core.effects("mountpoint", "root") == [("/b", "/")]


def test_without_an_answer_the_path_of_the_call_is_tried() -> None:
    core = started()
    new = M(3, ROOT, "/b")
    core.take(attached(ME, new), call("mount", made(new), seq=5, path="/b", fstype="tmpfs"))
    core.answer()
    assert core.effects("mountpoint") == [("/b",)]


# ---- threads


def test_what_a_thread_in_no_call_detached_is_nobodys() -> None:
    core = started()
    core.take(detached(ME, A))
    core.catch_up(250 * MS)
    assert core.ask(CheckThread) == [CheckThread(ME)]
    core.answer(ThreadChecked(0, ME, is_in_call=True))
    core.catch_up(250 * MS)
    assert core.ask(CheckThread) == [CheckThread(ME)]
    core.answer(ThreadChecked(0, ME, is_in_call=False))
    core.catch_up(250 * MS)
    assert core.ask(IdentifyThread) == [IdentifyThread(ME)]
    row = process(77).row
    core.answer(ThreadIdentified(0, ME, row))
    assert core.effects("seq", "via", "tid", "pid") == [(None, "", ME, 77)]
    assert [one["pid"] for one in core.of("processes")] == [77]


def test_a_thread_that_is_gone_is_told_without_its_process() -> None:
    core = started()
    core.take(detached(ME, A), *everything([ROOT], reason="end"))
    core.answer(ThreadIdentified(0, ME, None))
    assert core.effects("via", "tid", "pid") == [("", ME, None)]


def test_a_thread_with_the_number_of_a_process_that_was_seen_is_asked_about() -> None:
    core = started()
    core.take(process(ME), detached(ME, A), *everything([ROOT], reason="end"))
    assert core.ask(IdentifyThread) == [IdentifyThread(ME)]
    core.answer(ThreadIdentified(0, ME, process(77).row))
    assert core.effects("tid", "pid") == [(ME, 77)]


def test_a_process_that_was_seen_and_is_gone_is_known_by_its_number() -> None:
    core = started()
    core.take(process(ME), detached(ME, A), *everything([ROOT], reason="end"))
    core.answer(ThreadIdentified(0, ME, None))
    assert core.effects("tid", "pid") == [(ME, ME)]


def test_what_a_thread_detached_before_its_umount_is_not_the_umounts() -> None:
    c = M(4, ROOT, "/c")
    core = started([ROOT, A, c])
    core.take(detached(ME, c, A), call("umount2", seq=5, path="/a", last_detached=2))
    found = core.effects("seq", "via", "mnt_id_unique")
    assert sorted(found, key=str) == [(5, "direct", 2), (None, "", 4)]


def test_lost_events_are_counted() -> None:
    core = started()
    core.take(MountsChanged(0, [MountEvent(FAN_Q_OVERFLOW, 0, 0)]))
    core.take(attached(ME, M(9, ROOT, "/x")), detached(ME, M(9, ROOT, "/x")))
    core.take(*everything([ROOT, A], reason="end"), LossesCounted(0, {"lost_made": 2}))
    losses = {row["kind"]: row["count"] for row in core.of("losses")}
    assert (losses["lost_notifications"], losses["lost_made"]) == (1, 3)
    assert core.join.losses == losses


# ---- namespaces


def test_a_dying_namespace_is_told_by_its_thread() -> None:
    a = M(102, THERE, "/a", ns=OTHER)
    core = started([ROOT], [THERE, a])
    core.take(detached(ME, THERE, a))
    for _ in range(4):
        core.catch_up(250 * MS)
        core.answer(ThreadChecked(0, ME, is_in_call=False), ThreadIdentified(0, ME, None))
    assert core.effects("via", "evidence", "tid", "mnt_id_unique") == [
        ("namespace-death", "kernel", ME, 102)
    ]
    assert ForgetNamespace(OTHER) in core.ask(ForgetNamespace)
    assert [row["reason"] for row in core.of("snapshots")][-1] == "gone"


def test_a_namespace_that_was_never_watched_is_looked_for() -> None:
    core = started([ROOT])
    top = M(101, ns=OTHER, minor=1)
    a = M(102, top, "/a", ns=OTHER)
    core.take(call("clone", birth(top, a), seq=5, child=8, ns_target=OTHER))
    core.answer()  # that a mount has no name
    assert core.ask(SurveyBirth) == [SurveyBirth(OTHER, OTHER, 8, None)]
    core.answer()
    assert [one.key for one in core.ask(IdentifyNamespace)][-1] == OTHER
    core.answer(NamespaceIdentified(0, OTHER, Identity("container", "web", id="abcd1234")))
    core.take(TimePassed(core.now + 2 * SECOND))
    assert core.ask(CheckNamespaces) == [CheckNamespaces(frozenset({OTHER}))]
    core.answer(NamespacesGone(0, [OTHER]))
    core.catch_up(10 * MS)
    assert core.effects("via", "evidence", "mnt_id_unique")[-1] == (
        "namespace-death",
        "snapshot",
        102,
    )
    (row,) = [row for row in core.of("namespaces") if row["ns"] == OTHER]
    assert (row["name"], row["seq"]) == ("web", 5)


def test_what_a_umount_elsewhere_may_have_taken_before_is_doubtful() -> None:
    core = started([ROOT, A])
    top = M(101, ns=OTHER, master=1, minor=1)
    a = M(102, top, "/a", ns=OTHER, minor=2)
    core.take(call("clone", birth(top, a), seq=5, child=8, ns_target=OTHER))
    core.answer()
    core.take(detached(ME, A), call("umount2", seq=6, path="/a", last_detached=2))
    core.take(TimePassed(core.now + 2 * SECOND), NamespacesGone(0, [OTHER]))
    core.catch_up(10 * MS)
    assert core.effects("via", "evidence", "mnt_id_unique")[-1] == (
        "namespace-death",
        "ambiguous",
        102,
    )


def test_or_a_survey_finds_that_it_went_with_the_umount() -> None:
    core = started([ROOT, A])
    top = M(101, ns=OTHER, master=1, minor=1)
    a = M(102, top, "/a", ns=OTHER, minor=2)
    core.take(call("clone", birth(top, a), seq=5, child=8, ns_target=OTHER))
    core.answer(table(top, reason="birth", is_watched=False), listed(top, a))
    core.take(detached(ME, A), call("umount2", seq=6, path="/a", last_detached=2))
    core.take(*everything([ROOT], [top], reason="end", is_watched=False))
    assert (6, "detach", "slave", "snapshot", 102) in core.effects()


def test_a_removal_takes_mounts_in_namespaces_that_are_not_watched_yet() -> None:
    core = started([ROOT, A])
    top = M(101, ns=OTHER, minor=1)
    a = M(102, top, "/a", ns=OTHER)
    core.take(call("clone", birth(top, a), seq=5, child=8, ns_target=OTHER))
    core.answer()
    core.take(detached(ME, A), call("rmdir", seq=6, ns=THIRD, last_detached=2))
    core.take(*everything([ROOT], [top], reason="end", is_watched=False))
    assert (6, "detach", "mountpoint-removed", "snapshot", 102) in core.effects()


def test_a_namespace_that_is_not_there_at_the_end_has_ended() -> None:
    a = M(102, THERE, "/a", ns=OTHER)
    core = started([ROOT], [THERE, a])
    core.take(*everything([ROOT], reason="end", alive=[NS]))
    assert core.effects("via", "evidence", "mnt_id_unique") == [
        ("namespace-death", "snapshot", 102)
    ]


# ---- whose it is, and what is wanted


def test_a_process_may_say_more_of_a_namespace_than_the_first_one() -> None:
    core = started([ROOT])
    top = M(101, ns=OTHER, minor=1)
    core.take(call("clone", birth(top), seq=5, child=8, ns_target=OTHER))
    core.answer(table(top, reason="birth", pid=8))
    core.answer(NamespaceIdentified(0, OTHER, Identity("process", "sh[8]", pid=8)))
    core.ask(IdentifyNamespace)
    core.take(process(9, ns=OTHER, ns_id=OTHER, comm="runc:[1:CHILD]"))
    assert core.ask(IdentifyNamespace) == []
    core.take(process(9, ns=OTHER, ns_id=OTHER, cgroup_path="/docker/x"))
    (asked,) = core.ask(IdentifyNamespace)
    assert (asked.key, asked.pid, asked.hints.cgroup) == (OTHER, 9, "/docker/x")
    core.answer(NamespaceIdentified(0, OTHER, Identity("container", "web", pid=9)))
    core.take(*everything([ROOT], [top], reason="end", pid=10))
    names = [(row["name"], row["pid"]) for row in core.of("namespaces") if row["ns"] == OTHER]
    assert names == [("sh[8]", 8), ("web", 9), ("web", 10)]


def test_a_namespace_that_nobody_identified_is_written_all_the_same() -> None:
    core = started([ROOT])
    core.take(*everything([ROOT], reason="end"))
    assert [row["name"] for row in core.of("namespaces")] == [f"mnt:[{NS}]"]


def test_each_kind_of_filter() -> None:
    for wanted, seqs in (
        (Filter(), [5, 6]),
        (Filter(paths=("/a",)), [5]),
        (Filter(cgroups=("/test",)), [6]),
        (Filter(pids=frozenset({7})), [6]),
        (Filter(namespaces=frozenset({NS})), [5, 6]),
        (Filter(namespaces=frozenset({OTHER})), []),
        (Filter(containers=("web",)), [5, 6]),
        (Filter(containers=("abcd",)), [5, 6]),
        (Filter(containers=("db",)), []),
    ):
        core = started([ROOT, A], wanted=wanted)
        core.take(NamespaceIdentified(0, NS, Identity("container", "web", id="abcd1234")))
        core.take(process(300))
        core.take(detached(ME, A), call("umount2", seq=5, path="/a", last_detached=2))
        core.take(call("mount", seq=6, path="/b", tid=300, descends=True))
        assert [row["seq"] for row in core.of("operations")] == seqs, wanted


def test_a_container_is_wanted_whose_namespace_has_the_number_of_another_one() -> None:
    core = started(
        [ROOT], backend="kernel-hooks", uses_fanotify=False, wanted=Filter(containers=("web",))
    )
    for life, name in ((1, "db"), (2, "web")):
        top = M(100 * life + 1, ns=OTHER, minor=1)
        core.take(call("unshare", birth(top), seq=life, tid=life, ns_target=OTHER, ns_after=OTHER))
        core.answer()
        core.answer(NamespaceIdentified(0, OTHER, Identity("container", name)))
        core.catch_up()
        core.take(
            call("mount", made(M(100 * life + 2, top, "/a", ns=OTHER)), seq=life + 5, ns=OTHER)
        )
        core.answer()
        core.take(detached(life, top))
    assert [row["seq"] for row in core.of("operations")] == [2, 7]


def test_effects_of_a_container_whose_namespace_ended_are_wanted_too() -> None:
    a = M(102, THERE, "/a", ns=OTHER)
    core = started([ROOT], [THERE, a], wanted=Filter(containers=("web",)))
    core.take(NamespaceIdentified(0, OTHER, Identity("container", "web")))
    core.take(*everything([ROOT], reason="end", alive=[NS]))
    assert core.effects("via") == [("namespace-death",)]


# ---- busy mounts


def test_who_keeps_a_mount_busy() -> None:
    again = M(3, ROOT, "/again", minor=2)
    core = started([ROOT, A, again])
    refused = {"path": "/a", "result": -16, "error": "EBUSY"}
    core.take(call("umount2", seq=5, **refused))
    (asked,) = core.ask(FindUsers)
    assert (asked.seq, asked.device, asked.mounts) == (5, "0:2", frozenset({2, 3}))
    core.answer(UsersFound(0, 5, [User(3, 44, "sh", "cwd", "/again"), User(9, 1, "x", "cwd", "")]))
    core.take(call("umount2", seq=6, **refused))
    core.take(call("umount2", seq=7, path="/nowhere", result=-16, error="EBUSY"))
    assert [(row["pid"], row["mnt_id_unique"]) for row in core.of("users")] == [(44, 3)]
    core.take(LossesCounted(0, {}))
    assert core.join.losses["unsearched_users"] == 2


def test_users_are_found_by_the_kernels_id_where_unique_ids_are_made_up() -> None:
    top = M(FIRST_MADE_UP + 1)
    a = M(FIRST_MADE_UP + 2, top, "/a")
    core = started([top, a])
    core.take(call("umount2", seq=5, path="/a", result=-16, error="EBUSY"))
    (asked,) = core.ask(FindUsers)
    assert asked.mounts == frozenset({a.mount_id})
    core.answer(UsersFound(0, 5, [User(a.mount_id, 44, "sh", "cwd", "/a")]))
    assert [(row["pid"], row["mnt_id_unique"]) for row in core.of("users")] == [(44, a.unique)]


def test_what_is_mounted_on_a_mount_keeps_it_busy_itself() -> None:
    core = started([ROOT, A, M(3, A, "/a/b")])
    core.take(call("umount2", seq=5, path="/a", result=-16, error="EBUSY"))
    assert core.ask(FindUsers) == []


def test_a_whole_list_after_a_call_shows_what_went_elsewhere() -> None:
    core = Core(uses_fanotify=False)
    core.take(*everything([ROOT, A], is_watched=False))
    core.take(call("mount", after(ROOT), seq=5, path="/x", flags_value=1 << 20))
    assert core.effects("seq", "action", "evidence") == [(None, "detach", "snapshot")]
