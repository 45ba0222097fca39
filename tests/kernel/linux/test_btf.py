# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The reader of BTF against bpftool, on the types of the running kernel."""

import collections
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnttrace.errors import BadInput, MnttraceError
from mnttrace.linux.btf import Btf, Member

STRUCTS = [
    "task_struct", "nsproxy", "mnt_namespace", "mount", "vfsmount", "dentry", "qstr",
    "super_block", "file", "file_operations", "fdtable", "files_struct", "fs_struct", "path",
    "inode", "ns_common", "proc_ns_operations", "pid", "upid", "cred", "user_namespace",
    "pid_namespace", "fs_context", "file_system_type", "cgroup", "cgroup_subsys_state", "css_set",
    "kernfs_node", "mountpoint", "list_head", "hlist_head", "hlist_node", "rb_root", "rb_node",
    "signal_struct",
]  # fmt: skip
MODIFIERS = {"CONST", "VOLATILE", "RESTRICT", "TYPEDEF", "TYPE_TAG"}
Types = dict[int, dict[str, Any]]


@pytest.fixture(scope="session")
def kernel() -> Btf:
    return Btf.load()


@pytest.fixture(scope="session")
def types() -> Types:
    dump = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"],
        capture_output=True, check=True,
    )  # fmt: skip
    return {item["id"]: item for item in json.loads(dump.stdout)["types"]}


def behind(types: Types, number: int, *more: str) -> dict[str, Any]:
    """The type behind modifiers, arrays, and the kinds given besides."""
    found = types.get(number, {"kind": "VOID", "name": "void"})
    if found["kind"] in {*MODIFIERS, "ARRAY", *more}:
        return behind(types, found["type_id"], *more)
    return found


def members(types: Types, item: dict[str, Any], start: int = 0) -> Iterator[Member]:
    """The members of a struct, and those of the anonymous structs and unions in it."""
    for member in item["members"]:
        bit = start + member["bits_offset"]
        inner = behind(types, member["type_id"])
        if member["name"] != "(anon)":
            yield Member(member["name"], member["type_id"], bit, member.get("bitfield_size", 0))
        elif "members" in inner:
            yield from members(types, inner, bit)


def all_within(
    types: Types, item: dict[str, Any], path: str, start: int = 0
) -> Iterator[tuple[str, Member]]:
    """Each path through what is embedded, at any depth."""
    for member in members(types, item, start):
        yield f"{path}.{member.name}", member
        inner = behind(types, member.type)
        if "members" in inner:
            yield from all_within(types, inner, f"{path}.{member.name}", member.bit)


def offset_of(btf: Btf, path: str) -> int | str:
    try:
        return btf.offset(path)
    except MnttraceError as error:
        return error.message


def expected(path: str, member: Member) -> int | str:
    if member.bits or member.bit % 8:
        return f"{path} is a bitfield and has no offset in bytes"
    return member.bit // 8


def structs_of(types: Types) -> dict[str, dict[str, Any]]:
    """The named structs and unions, without those that share a name."""
    found = [item for item in types.values() if item["kind"] in ("STRUCT", "UNION")]
    count = collections.Counter(item["name"] for item in found)
    return {item["name"]: item for item in found if count[item["name"]] == 1}


@pytest.mark.kernel("bpftool")
def test_every_member_of_every_struct_is_where_bpftool_says(kernel: Btf, types: Types) -> None:
    structs = structs_of(types)
    assert len(structs) > 2000
    for name, item in structs.items():
        assert kernel.size(name) == item["size"]
        paths = {f"{name}.{member.name}": member for member in members(types, item)}
        assert {path: offset_of(kernel, path) for path in paths} == {
            path: expected(path, member) for path, member in paths.items()
        }


@pytest.mark.kernel("bpftool")
@pytest.mark.parametrize("name", STRUCTS)
def test_paths_of_any_depth_lead_where_bpftool_says(kernel: Btf, types: Types, name: str) -> None:
    item = structs_of(types).get(name)
    if item is None:
        pytest.skip(f"this kernel has no struct {name}, or several")
    for path, member in all_within(types, item, name):
        assert offset_of(kernel, path) == expected(path, member)
        type_name = behind(types, member.type, "PTR")["name"]
        assert kernel.member_type(path) == type_name.replace("(anon)", ""), path


@pytest.mark.kernel("bpftool")
def test_every_function_has_the_arguments_that_bpftool_says(kernel: Btf, types: Types) -> None:
    counts = collections.defaultdict(set)
    for item in types.values():
        if item["kind"] == "FUNC":
            arguments = types[item["type_id"]]["params"]
            variadic = bool(arguments) and arguments[-1]["type_id"] == 0
            counts[item["name"]].add(len(arguments) - variadic)
    assert len(counts) > 1000
    assert {name: kernel.function_arguments(name) for name in counts} == {
        name: min(found) if len(found) == 1 else None for name, found in counts.items()
    }


@pytest.mark.parametrize(
    ("struct_name", "names"),
    [
        ("task_struct", "nsproxy real_parent files fs thread_pid cred tgid pid"),
        ("nsproxy", "mnt_ns pid_ns_for_children"),
        ("mnt_namespace", "ns.inum event user_ns"),
        ("mount", "mnt_parent mnt_mountpoint mnt.mnt_root mnt.mnt_sb mnt.mnt_flags mnt_id mnt_ns "
                  "mnt_share mnt_slave_list mnt_slave mnt_master mnt_group_id"),
        ("dentry", "d_parent d_name.name d_name.len"),
        ("super_block", "s_dev s_type s_root s_magic"),
        ("file", "f_path.mnt f_path.dentry f_inode f_op private_data"),
        ("pid", "level numbers numbers.ns numbers.nr"),
    ],
)  # fmt: skip
def test_what_all_supported_kernels_have_is_found(
    kernel: Btf, struct_name: str, names: str
) -> None:
    assert [name for name in names.split() if not kernel.has(f"{struct_name}.{name}")] == []


def test_what_kernels_have_under_different_names_is_found(kernel: Btf) -> None:
    assert kernel.first("mnt_namespace.nr_mounts", "mnt_namespace.mounts")
    assert kernel.first("mnt_namespace.ns.ns_id", "mnt_namespace.seq")
    assert kernel.first("mount.mnt_node", "mount.mnt_list")
    assert kernel.member_type("mount.mnt_slave_list") in ("hlist_head", "list_head")
    assert kernel.member_type("mount.mnt_share") == "list_head"


def test_cuts_of_the_kernels_types_are_noticed() -> None:
    data = Path("/sys/kernel/btf/vmlinux").read_bytes()
    for length in (23, 24, 4096, len(data) // 3, len(data) - 1):
        with pytest.raises(BadInput, match=r"it is cut|ends within"):
            Btf(data[:length])
