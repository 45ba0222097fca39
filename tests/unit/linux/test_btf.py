# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The reader of BTF against gcc, and on damaged blobs."""

import contextlib
import itertools
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnttrace.errors import BadInput, MissingPrerequisite, MnttraceError
from mnttrace.linux.btf import Btf, NoSuchMember

# ---- blobs made by hand

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
UNHEARD_OF = 77

Members = Sequence[tuple[str, int, int]]  # name, type, offset in bits


class Blob:
    """Writes BTF, of types that are numbered from 1 as they are added."""

    def __init__(self, order: str = "<") -> None:
        self.order = order
        self.types: list[int] = []
        self.strings = bytearray(b"\0")
        self.count = 0
        self.header_length = 24
        self.layout = b""

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def add(
        self,
        kind: int,
        name: str | int = "",
        third: int = 0,
        behind: Sequence[int] = (),
        length: int = 0,
        *,
        flag: bool = False,
    ) -> int:
        place = name if isinstance(name, int) else self.name(name)
        self.types += [place, flag << 31 | kind << 24 | length, third, *behind]
        self.count += 1
        return self.count

    def struct(self, name: str, members: Members, size: int = 64, **more: Any) -> int:
        words = [word for m in members for word in (self.name(m[0]), m[1], m[2])]
        return self.add(more.pop("kind", STRUCT), name, size, words, len(members), **more)

    def integer(self, name: str, size: int, bits: int = 0) -> int:
        return self.add(INT, name, size, [bits or size * 8])

    def function(self, name: str, *arguments: tuple[str, int]) -> int:
        words = [word for a in arguments for word in (self.name(a[0]), a[1])]
        prototype = self.add(FUNC_PROTO, "", 0, words, len(arguments))
        return self.add(FUNC, name, prototype, length=1)

    def __bytes__(self) -> bytes:
        types = struct.pack(f"{self.order}{len(self.types)}I", *self.types)
        header = struct.pack(
            f"{self.order}HBB7I", 0xEB9F, 1, 0, self.header_length,
            0, len(types), len(types), len(self.strings),
            len(types) + len(self.strings), len(self.layout),
        )  # fmt: skip
        header = header[: self.header_length].ljust(self.header_length, b"\0")
        return header + types + bytes(self.strings) + self.layout

    def read(self) -> Btf:
        return Btf(bytes(self))


def mount_like(order: str = "<") -> Blob:
    """A blob that has each kind of type, and the shapes that the kernel's structs have."""
    blob = Blob(order)
    number = blob.integer("int", 4)
    text = blob.add(PTR, "", blob.add(CONST, "", blob.integer("char", 1)))
    dentry = blob.add(FWD, "dentry")
    vfsmount = blob.struct(
        "vfsmount", [("mnt_root", blob.add(PTR, "", dentry), 0), ("mnt_flags", number, 64)], 16
    )
    hidden = blob.add(TYPEDEF, "vfsmount_t", blob.add(VOLATILE, "", vfsmount))
    node = blob.struct("hlist_node", [("next", blob.add(PTR, "", blob.count + 2), 0)], 8)
    inner = blob.struct("", [("depth", number, 0), ("node", node, 32)], 12)
    choice = blob.struct(
        "", [("index", number, 0), ("", blob.add(CONST, "", inner), 32)], 16, kind=UNION
    )
    nodes = blob.add(ARRAY, "", 0, [node, number, 3])
    tagged = blob.add(PTR, "", blob.add(TYPE_TAG, "rcu", node))
    blob.struct(
        "mount",
        [
            ("mnt_id", number, 0),
            ("mnt", hidden, 64),
            ("", choice, 256),
            ("mnt_devname", text, 384),
            ("nodes", blob.add(RESTRICT, "", nodes), 448),
            ("mnt_slave", tagged, 640),
            ("private", blob.add(PTR), 704),
        ],
        96,
    )
    blob.add(ENUM, "color", 4, [blob.name("RED"), 0, blob.name("BLUE"), 1], 2)
    blob.add(ENUM64, "big", 8, [blob.name("HUGE"), 0, 1], 1)
    blob.add(FLOAT, "double", 8)
    variable = blob.add(VAR, "jiffies", number, [1])
    blob.add(DATASEC, ".data", 4, [variable, 0, 4], 1)
    blob.add(DECL_TAG, "bpf_kfunc", variable, [0xFFFFFFFF])
    blob.function("clone_mnt", ("old", text), ("root", text), ("flag", number))
    blob.function("printk", ("fmt", text), ("", 0))
    blob.function("nothing")
    return blob


OFFSETS = {
    "mount": 0,
    "mount.mnt_id": 0,
    "mount.mnt": 8,
    "mount.mnt.mnt_root": 8,
    "mount.mnt.mnt_flags": 16,
    "mount.index": 32,
    "mount.depth": 36,
    "mount.node": 40,
    "mount.node.next": 40,
    "mount.mnt_devname": 48,
    "mount.nodes": 56,
    "mount.nodes.next": 56,
    "mount.mnt_slave": 80,
    "vfsmount.mnt_flags": 8,
}


@pytest.mark.parametrize("order", ["<", ">"])
def test_members_are_found_through_all_that_is_embedded(order: str) -> None:
    btf = mount_like(order).read()
    assert {path: btf.offset(path) for path in OFFSETS} == OFFSETS
    assert (btf.size("mount"), btf.size("mount.mnt"), btf.size("mount.nodes")) == (96, 16, 8)
    assert [btf.function_arguments(name) for name in ("clone_mnt", "printk", "nothing", "mount")] \
        == [3, 1, 0, None]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "mount.mnt_slave.next",  # behind a pointer
        "mount.mnt_id.mnt_id",
        "mount.mnt.",
        "mount.",
        "mount..mnt",
        "mount.mnt\0",
        "mount\0",
        "mount.mnt_i",
        "mount.nt_id",
        "Mount.mnt_id",
        "vfsmount_t.mnt_root",
        "clone_mnt",
        "int",
        "",
        ".",
    ],
)
def test_what_is_not_there_is_said_not_to_be(path: str) -> None:
    btf = mount_like().read()
    assert not btf.has(path)
    for question in (btf.offset, btf.size, btf.member_type):
        with pytest.raises(NoSuchMember) as raised:
            question(path)
        assert raised.value.message.endswith(f" {path}")
        assert isinstance(raised.value, LookupError)
        assert raised.value.exit_status == MissingPrerequisite.exit_status


def test_the_first_that_this_kernel_has_is_taken() -> None:
    btf = mount_like().read()
    assert btf.first("mount.newer", "mount.index", "mount.mnt_id") == ("mount.index", 32)
    assert btf.first("mount.newer", "newer.mnt_id") is None
    assert btf.first() is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mount", "mount"),
        ("mount.mnt", "vfsmount"),
        ("mount.mnt.mnt_root", "dentry"),
        ("mount.mnt_devname", "char"),
        ("mount.nodes", "hlist_node"),
        ("mount.mnt_slave", "hlist_node"),
        ("mount.private", "void"),
        ("mount.index", "int"),
    ],
)
def test_the_type_of_a_member_is_named(path: str, name: str) -> None:
    assert mount_like().read().member_type(path) == name


def test_only_a_struct_has_a_size() -> None:
    for path in ("mount.mnt_id", "mount.mnt_slave", "mount.private"):
        with pytest.raises(BadInput, match=f"{path} is neither"):
            mount_like().read().size(path)


def test_a_bitfield_has_no_offset_in_bytes() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    few = blob.add(TYPEDEF, "few", blob.integer("int", 4, bits=3))
    flagged = [("a", number, 3 << 24 | 8), ("b", number, 5 << 24 | 11), ("c", number, 32)]
    blob.struct("flagged", flagged, flag=True)
    blob.struct("old", [("a", few, 8), ("c", number, 32)])
    blob.struct("large", [("far", number, 1 << 27)])
    btf = blob.read()
    for path in ("flagged.a", "flagged.b", "old.a"):
        assert btf.has(path)
        with pytest.raises(BadInput, match="is a bitfield"):
            btf.offset(path)
    assert (btf.offset("flagged.c"), btf.offset("old.c")) == (4, 4)
    assert btf.offset("large.far") == 1 << 24


def test_structs_of_one_name_must_agree() -> None:
    blob = Blob()
    number, pointer = blob.integer("int", 4), blob.add(PTR)
    blob.struct("twin", [("same", number, 0), ("moved", number, 32), ("type", number, 96)], 64)
    blob.struct("twin", [("same", number, 0), ("moved", number, 64), ("type", pointer, 96)], 72)
    blob.struct("twin", [("own", number, 128)], 72)
    btf = blob.read()
    assert (btf.offset("twin.same"), btf.offset("twin.own")) == (0, 16)
    assert btf.has("twin.moved")
    with pytest.raises(BadInput, match=r"disagree about twin\.moved"):
        btf.offset("twin.moved")
    with pytest.raises(BadInput, match="disagree about twin"):
        btf.size("twin")
    assert btf.offset("twin.type") == 12
    with pytest.raises(BadInput, match=r"disagree about twin\.type"):
        btf.member_type("twin.type")


def test_functions_of_one_name_must_agree() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    for name, count in [("same", 2), ("same", 2), ("differ", 1), ("differ", 2)]:
        blob.function(name, *[("x", number)] * count)
    btf = blob.read()
    assert (btf.function_arguments("same"), btf.function_arguments("differ")) == (2, None)


def test_names_may_share_their_ends() -> None:
    blob = Blob()
    place = blob.name("super_block")
    blob.add(STRUCT, place + len("super_"), 8)
    btf = blob.read()
    assert (btf.has("block"), btf.has("super_block"), btf.has("lock")) == (True, False, False)


def with_unheard_of_kind() -> Blob:
    blob = Blob()
    blob.add(UNHEARD_OF, "", 0, [1, 2, 3, 4, 5], 2)  # one word of its own, two of each element
    blob.struct("mount", [("mnt_id", blob.integer("int", 4), 8)], 8)
    return blob


def test_a_kind_without_a_known_size_is_refused() -> None:
    with pytest.raises(BadInput, match="kind, 77"):
        with_unheard_of_kind().read()


def test_the_sizes_of_newer_kinds_are_taken_from_the_layout() -> None:
    blob = with_unheard_of_kind()
    blob.header_length = 32
    layout = [struct.pack("<BBH", 0, 0, 0)] * (UNHEARD_OF + 1)
    layout[UNHEARD_OF] = struct.pack("<BBH", 4, 8, 0)
    blob.layout = b"".join(layout)
    assert blob.read().offset("mount.mnt_id") == 1
    blob.layout += b"\1"
    assert blob.read().offset("mount.mnt_id") == 1
    with pytest.raises(BadInput, match="it is cut"):
        Btf(bytes(blob)[:-2])


def test_a_layout_of_broken_words_is_not_believed() -> None:
    blob = with_unheard_of_kind()
    blob.header_length = 32
    blob.layout = struct.pack("<BBH", 5, 8, 0) * (UNHEARD_OF + 1)
    with pytest.raises(BadInput, match="kind, 77"):
        blob.read()


def test_a_type_may_have_more_elements_than_16_bits_count() -> None:
    blob = Blob()
    blob.add(ENUM, "large", 4, [0, 7] * 70_000, 70_000)
    blob.struct("mount", [("mnt_id", blob.integer("int", 4), 8)], 8)
    assert blob.read().offset("mount.mnt_id") == 1


def test_a_longer_header_is_read_past() -> None:
    blob = mount_like()
    blob.header_length = 60
    assert blob.read().offset("mount.mnt.mnt_flags") == OFFSETS["mount.mnt.mnt_flags"]


# ---- damage


def ask_everything(btf: Btf) -> None:
    """Ask all that can be asked; an answer, or an error of ours, is all that may come."""
    for path in [*OFFSETS, "mount.private", "mount.missing", "vfsmount", "hlist_node.next.next"]:
        for question in (btf.offset, btf.has, btf.size, btf.member_type):
            with contextlib.suppress(BadInput, NoSuchMember):
                question(path)
    for name in ("clone_mnt", "printk", "nothing"):
        with contextlib.suppress(BadInput):
            btf.function_arguments(name)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_cut_is_noticed(order: str) -> None:
    data = bytes(mount_like(order))
    for length in range(len(data)):
        with pytest.raises(BadInput):
            Btf(data[:length])


@settings(deadline=2000)  # there is no damage that makes a question endless
@given(st.data(), st.sampled_from("<>"))
def test_damage_gives_no_other_error(data: st.DataObject, order: str) -> None:
    blob = bytearray(bytes(mount_like(order)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(blob) - 1))
        blob[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadInput):
        ask_everything(Btf(bytes(blob)))


def test_no_flipped_bit_gives_another_error() -> None:
    blob = bytes(mount_like())
    for place, bit in itertools.product(range(len(blob)), (0, 3, 7)):
        flipped = bytearray(blob)
        flipped[place] ^= 1 << bit
        with contextlib.suppress(BadInput):
            ask_everything(Btf(bytes(flipped)))


@settings(deadline=2000)
@given(st.binary(max_size=200))
def test_no_bytes_give_another_error(noise: bytes) -> None:
    for data in (noise, b"\x9f\xeb\x01\0\x18\0\0\0" + noise, bytes(mount_like())[:24] + noise):
        with contextlib.suppress(BadInput):
            ask_everything(Btf(data))


@pytest.mark.parametrize("kind", [PTR, TYPEDEF, CONST, VOLATILE, RESTRICT, TYPE_TAG, ARRAY])
def test_a_type_that_leads_to_itself_is_refused(kind: int) -> None:
    blob = Blob()
    endless = blob.add(kind, "", 1, [1, 1, 1] if kind == ARRAY else [])
    blob.struct("mount", [("mnt", endless, 0)])
    with pytest.raises(BadInput, match="leads to no end"):
        blob.read().member_type("mount.mnt")


def test_a_struct_within_itself_ends() -> None:
    blob = Blob()
    blob.struct("mount", [("", 1, 64), ("", 2, 0), ("mnt", 1, 64)])
    blob.struct("", [("", 1, 64), ("", 2, 8)])
    btf = blob.read()
    assert btf.offset("mount.mnt.mnt") == 16
    assert not btf.has("mount.missing")


def test_no_btf_is_a_missing_prerequisite(tmp_path: Path) -> None:
    for path in (tmp_path / "vmlinux", tmp_path, "/proc/self/mem"):
        with pytest.raises(MissingPrerequisite, match=re.escape(str(path))) as raised:
            Btf.load(path)
        assert "CONFIG_DEBUG_INFO_BTF" in raised.value.hint


@pytest.mark.parametrize("content", [b"", b"\x9f", b"\x7fELF" + b"\0" * 100])
def test_a_file_that_is_not_btf_is_bad_input(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vmlinux").write_bytes(content)
    with pytest.raises(BadInput, match="vmlinux") as raised:
        Btf.load(tmp_path / "vmlinux")
    assert isinstance(raised.value, MnttraceError)


# ---- gcc says where it puts members

PROGRAM = """
#include <stddef.h>
#include <stdio.h>
typedef const volatile struct qstr { union { struct { unsigned hash, len; }; long both; };
                                     const char *name; } qstr_t;
struct node { struct node *next; };
struct dentry { char c; struct dentry *d_parent; qstr_t d_name; short s[3]; struct node list[2][3];
                union { unsigned char tiny; struct { char pad; union { int deep; char x; }; }; };
                unsigned few : 3, more : 7; long last; };
struct dentry root;
int clone_dentry(struct dentry *old, long flag, ...) { return old == &root && flag; }
int main(void) {
#define SHOW(...) printf(#__VA_ARGS__ " %zu\\n", offsetof(struct dentry, __VA_ARGS__));
MEMBERS
printf("%zu\\n", sizeof(struct dentry));
return 0; }
"""
PATHS = [
    "c", "d_parent", "d_name", "d_name.hash", "d_name.len", "d_name.both", "d_name.name", "s",
    "list", "tiny", "pad", "deep", "x", "last",
]  # fmt: skip


def test_members_lie_where_the_compiler_puts_them(tmp_path: Path) -> None:
    program = tmp_path / "program"
    if not shutil.which("gcc") or not shutil.which("objcopy"):
        pytest.skip("gcc and objcopy are not installed")
    source = PROGRAM.replace("MEMBERS", "\n".join(f"SHOW({path})" for path in PATHS))
    (tmp_path / "program.c").write_text(source)
    made = subprocess.run(
        ["gcc", "-gbtf", "-o", program, tmp_path / "program.c"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "-gbtf" in made.stderr:
        pytest.skip("this gcc makes no BTF")
    assert made.returncode == 0, made.stderr
    subprocess.run(["objcopy", "--dump-section", f".BTF={tmp_path / 'btf'}", program], check=True)
    *lines, size = subprocess.check_output([program], text=True).splitlines()
    btf = Btf.load(tmp_path / "btf")
    assert [f"{path} {btf.offset(f'dentry.{path}')}" for path in PATHS] == lines
    assert btf.size("dentry") == int(size)
    assert btf.offset("dentry.list.next") == btf.offset("dentry.list")
    assert btf.function_arguments("clone_dentry") == 2
    with pytest.raises(BadInput, match="bitfield"):
        btf.offset("dentry.more")
