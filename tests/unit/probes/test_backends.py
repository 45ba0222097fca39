# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which ways to see mounts a kernel allows for, by its BTF: the best first."""

from __future__ import annotations

from typing import cast

import msgspec

from mnttrace.linux.syscalls import COMPAT_CALLS, by_compat_number, by_number
from mnttrace.probes.backends import Features, candidates
from mnttrace.probes.call_functions import known
from mnttrace.probes.call_programs import OnFunctions
from mnttrace.probes.compiled import Facts, Function
from mnttrace.probes.load import Loaded

FUNCTIONS = {"mnt_add_to_ns": 2, "transfer_propagation": 2, "change_mnt_propagation": 2}
NUMBERS = {name: Function(at, count) for at, (name, count) in enumerate(FUNCTIONS.items(), 1)}
OFFSETS = dict.fromkeys(
    ["MNT_NS_TREE", "MOUNT_NODE", "MOUNT_ID_UNIQUE", "MNT_NS_ID", "FANOTIFY_MNT_ID"], 8
)
NEW = Facts(
    "x86_64",
    "6.18.0",
    "",
    OFFSETS | {"CAN_WALK": 1},
    NUMBERS | {"bulk_make_private": Function(7, 2), "bpf_rdonly_cast": Function(9, 2)},
    True,
    struct_of_bytes=11,
)
OLD = Facts(
    "x86_64",
    "6.1.0",
    "",
    {"MNT_NS_LIST": 8, "MOUNT_LIST": 8, "MNT_NS_ID": 8},
    {
        "clone_mnt": Function(1, 3),
        "commit_tree": Function(2, 1),
        "change_mnt_propagation": Function(3, 2),
        "vfs_create_mount": Function(4, 1),
        "cleanup_mnt": Function(5, 1),
    },
    False,
)
ALL, NONE = Features(True, True, "void"), Features(False, False, "")
# With the functions of some calls.
CALLS = ["__x64_sys_mount", "__x64_sys_umount", "__x64_sys_setns", "__x64_sys_rmdir"]
CALLS += ["__ia32_compat_sys_ia32_clone", "__ia32_sys_clone"]
CALLS += ["__ia32_sys_umount", "__ia32_sys_oldumount"]
WITH_CALLS = msgspec.structs.replace(
    NEW,
    definitions=NEW.definitions | {"TASK_STATUS": 8},
    functions=NEW.functions | {name: Function(20, 1) for name in CALLS},
)
FAULTABLE = msgspec.structs.replace(
    WITH_CALLS,
    functions=WITH_CALLS.functions | {"trace_call_bpf_faultable": Function(0, 2)},
)


def names(facts: Facts, features: Features, backend: str | None = None) -> list[str]:
    """Backends, with the hooks of each."""
    found = candidates(backend, facts, features)
    return [" ".join([one.backend, *(one.hooks.definitions if one.hooks else ())]) for one in found]


def test_the_best_comes_first() -> None:
    assert names(NEW, ALL) == [
        "kernel-hooks HOOKS HOOK_ADDED HOOK_TRANSFERRED",
        "kernel-hooks HOOKS HOOK_ADDED HOOK_CHANGED",
        "kernel-hooks HOOKS HOOK_KPROBES HOOK_ADDED HOOK_TRANSFERRED",
        "kernel-hooks HOOKS HOOK_KPROBES HOOK_ADDED HOOK_CHANGED",
        "walk",
        "syscalls",
    ]
    assert names(OLD, NONE) == [
        "kernel-hooks HOOKS HOOK_COMMITTED HOOK_CHANGED HOOK_NUMBERED",
        "kernel-hooks HOOKS HOOK_KPROBES HOOK_COMMITTED HOOK_CHANGED HOOK_NUMBERED",
        "syscalls",
    ]


def test_what_is_asked_for_is_all_that_is_looked_at() -> None:
    assert names(NEW, ALL, "walk") == ["walk"]
    assert names(NEW, ALL, "syscalls") == ["syscalls"]
    assert len(names(NEW, ALL, "kernel-hooks")) == 4
    assert names(OLD, NONE, "walk") == []


def test_functions_that_are_others_now_are_not_hooked() -> None:
    functions = NEW.functions | {"mnt_add_to_ns": Function(1, 3)}
    assert names(msgspec.structs.replace(NEW, functions=functions), ALL) == ["walk", "syscalls"]
    # Of two functions of one name BTF does not tell which is meant; kprobes go by the name.
    functions = NEW.functions | {"mnt_add_to_ns": Function(0, 2)}
    assert names(msgspec.structs.replace(NEW, functions=functions), ALL, "kernel-hooks") == [
        "kernel-hooks HOOKS HOOK_KPROBES HOOK_ADDED HOOK_TRANSFERRED",
        "kernel-hooks HOOKS HOOK_KPROBES HOOK_ADDED HOOK_CHANGED",
    ]


def test_what_was_tried_is_defined() -> None:
    hooked, *_, walk, tables = candidates(None, NEW, ALL)
    assert walk.definitions == NEW.definitions | {
        "RETRY_LEVELS": 1,
        "MAY_GOTO": 1,
        "RDONLY_CAST": 9,
        "RDONLY_TYPE": 0,
    }
    assert "FANOTIFY_MNT_ID" not in hooked.definitions
    assert not {"CAN_WALK", "FANOTIFY_MNT_ID"} & tables.definitions.keys()
    [walk] = candidates("walk", NEW, NONE)
    assert not {"MAY_GOTO", "RDONLY_CAST", "MNT_NS_ID"} & walk.definitions.keys()


def test_a_cast_to_a_struct_has_its_number() -> None:
    *_, walk, _tables = candidates(None, NEW, ALL._replace(cast="struct"))
    assert (walk.definitions["RDONLY_CAST"], walk.definitions["RDONLY_TYPE"]) == (9, 11)


def test_programs_that_can_be_preempted_have_copies() -> None:
    functions = NEW.functions | {"trace_call_bpf_faultable": Function(0, 2)}
    [walk] = candidates("walk", msgspec.structs.replace(NEW, functions=functions), ALL)
    assert walk.definitions["RETRY_LEVELS"] == 4


def test_another_kernel_may_have_what_only_a_try_tells() -> None:
    assert Features.possible(NEW) == [
        ALL,
        *(Features(True, goto, "struct") for goto in (True, False)),
        *(Features(True, goto, "") for goto in (True, False)),
    ]
    assert Features.possible(OLD) == [Features(False, True, ""), NONE]


def test_calls_are_seen_by_their_functions_where_hooks_are() -> None:
    first, second, *_ = candidates(None, WITH_CALLS, ALL)
    assert [first.calls_by_function, second.calls_by_function] == [True, False]
    # There programs on tracepoints are not kept from running.
    assert not any(one.calls_by_function for one in candidates(None, FAULTABLE, ALL))
    first, second, *_ = candidates(None, FAULTABLE, ALL, compat=True)
    assert [first.calls_by_function, second.calls_by_function] == [True, False]
    assert first.hooks == second.hooks
    assert first.definitions["RETRY_LEVELS"] == 1
    assert second.definitions["RETRY_LEVELS"] == 4
    # 32-bit calls come along.
    added = first.definitions.keys() - second.definitions.keys()
    assert (added, second.definitions.keys() - first.definitions.keys()) == (
        {"CALLS_BY_FUNCTION"},
        {"COMPAT"},
    )
    [walk] = candidates("walk", WITH_CALLS, ALL, compat=True)
    assert "CALLS_BY_FUNCTION" not in walk.definitions


def test_the_functions_of_calls_are_known_by_what_btf_has() -> None:
    assert known(WITH_CALLS) == {
        84: "__x64_sys_rmdir",
        165: "__x64_sys_mount",
        166: "__x64_sys_umount",
        308: "__x64_sys_setns",
        COMPAT_CALLS + 120: "__ia32_compat_sys_ia32_clone",
        COMPAT_CALLS + 22: "__ia32_sys_oldumount",
        COMPAT_CALLS + 52: "__ia32_sys_umount",
    }
    assert known(NEW) == {}
    assert known(msgspec.structs.replace(WITH_CALLS, machine="aarch64")) == {}
    # One that takes something else is another function.
    functions = WITH_CALLS.functions | {"__x64_sys_mount": Function(20, 5)}
    assert known(msgspec.structs.replace(WITH_CALLS, functions=functions)) == {}


def test_programs_on_functions_get_the_numbers_of_calls() -> None:
    calls = by_number("x86_64") | by_compat_number("x86_64")
    programs = OnFunctions(calls, known(WITH_CALLS))
    assert set(programs.traced) == {"mount", "umount2", "setns", "clone"}
    assert "move_mount" in programs.missing
    attached: list[tuple[str, bool, dict[str, int]]] = []

    class Attaching:
        def attach_functions(self, numbers: dict[str, int], name: str, at_exit: bool) -> None:
            attached.append((name, at_exit, numbers))

    programs.attach(cast(Loaded, Attaching()))
    removals, leave, enter = attached
    assert removals == ("leave_remove", True, {"__x64_sys_rmdir": 84})
    assert (leave[:2], enter[:2]) == (("leave", True), ("enter_function", False))
    assert leave[2] == enter[2]
    assert leave[2]["__ia32_sys_oldumount"] == COMPAT_CALLS + 22
