# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Parsing and printing mountinfo: published tables, generated mounts."""

import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnttrace.errors import ParseError
from mnttrace.linux.mountinfo import Mount, escape, format_line, parse, unescape
from tests import CHECKOUT

TABLES = CHECKOUT / "tests/data/mountinfo"

PLAIN = "36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw,errors=continue"
MOUNT = Mount(
    36, 35, 98, 0, "/mnt1", "/mnt2", "rw,noatime",
    None, None, None, False, (), "ext3", "/dev/root", "rw,errors=continue",
)  # fmt: skip


def with_optional(fields: str) -> str:
    return PLAIN.replace(" - ", f" {fields} - ")


def table(name: str) -> list[Mount]:
    with open(TABLES / f"{name}.txt", newline="\n") as stream:
        return parse(stream, name)


def at(mounts: list[Mount], mountpoint: str) -> Mount:
    (found,) = [mount for mount in mounts if mount.mountpoint == mountpoint]
    return found


# Published tables


def test_every_published_table_is_listed_with_its_source() -> None:
    listed = (TABLES / "README.md").read_text()
    files = sorted(path.name for path in TABLES.glob("*.txt"))
    assert len(files) >= 6
    assert [name for name in files if f"| `{name}` |" not in listed] == []


@pytest.mark.parametrize(
    ("name", "mounts", "propagation"),
    [
        ("docker-host", 42, {"shared": 42}),
        ("fedora-desktop", 38, {"shared": 37, "private": 1}),
        ("gentoo-openrc", 31, {"private": 31}),
        ("kubernetes-node", 47, {"shared": 46, "private": 1}),
        ("kubernetes-pod", 39, {"private": 22, "slave": 17}),
        ("nspawn-container", 29, {"shared": 27, "slave": 1, "shared-and-slave": 1}),
        ("ubuntu-docker-host", 27, {"private": 27}),
    ],
)
def test_published_tables_come_back_to_the_letter(
    name: str, mounts: int, propagation: dict[str, int]
) -> None:
    parsed = table(name)
    assert len(parsed) == mounts
    assert Counter(mount.propagation for mount in parsed) == propagation
    lines = (TABLES / f"{name}.txt").read_bytes().decode().split("\n")
    assert [*map(format_line, parsed), ""] == lines


def test_facts_of_published_tables() -> None:
    fedora = table("fedora-desktop")
    assert at(fedora, "/").shared == 1
    assert at(fedora, "/run/user/1000/gvfs").fstype == "fuse.gvfsd-fuse"
    cifs = at(fedora, "/DATA/foo_bla_bla")
    assert cifs.source == "//foo/BLA BLA BLA/"
    assert r",unc=\\foo\BLA BLA BLA,username=" in cifs.super_options
    assert cifs.super_options.endswith(",actimeo=1")

    node = table("kubernetes-node")
    assert at(node, "/home").root == "/@/home"
    assert at(node, "/").device == "0:29"
    bound = at(node, "/run/utsns/0234cef0-d2e2-451d-b26b-67b1c97d1fc2")
    assert (bound.root, bound.fstype, bound.shared) == ("uts:[4026532576]", "nsfs", 260)

    pod = table("kubernetes-pod")
    assert at(pod, "/dev/shm").master == 1420
    assert at(pod, "/proc/keys").root == "/null"
    assert 's0:c316,c673",lowerdir=' in at(pod, "/").super_options

    nspawn = table("nspawn-container")
    assert at(nspawn, "/dev/console").optional_fields == "shared:57 master:4"
    assert [mount.mountpoint for mount in nspawn if mount.deleted] == [
        *["/proc/sys/kernel/random/boot_id"] * 2,
        "/proc/kmsg",
    ]

    docker = table("docker-host")
    assert at(docker, "/").parent_id == 0
    assert at(docker, "/sys/fs/bpf").source == "bpffs"
    ubuntu = table("ubuntu-docker-host")
    assert at(ubuntu, "/").source == "/dev/disk/by-label/DOROOT"
    assert at(table("gentoo-openrc"), "/boot/efi").parent_id == 61


# Lines


def test_a_line_is_taken_with_and_without_newline_and_as_text_or_stream() -> None:
    assert parse([PLAIN]) == parse([PLAIN + "\n"]) == parse(PLAIN) == [MOUNT]
    assert parse(io.StringIO(f"{PLAIN}\n{PLAIN}\n")) == [MOUNT, MOUNT]
    assert parse(f"{PLAIN}\n{PLAIN}\n") == [MOUNT, MOUNT]
    assert parse("") == parse([]) == []


@pytest.mark.parametrize(
    ("fields", "expected", "propagation"),
    [
        ("shared:1", (1, None, None, False, ()), "shared"),
        ("master:2", (None, 2, None, False, ()), "slave"),
        ("shared:1 master:2", (1, 2, None, False, ()), "shared-and-slave"),
        ("master:2 shared:1", (1, 2, None, False, ()), "shared-and-slave"),
        ("master:2 propagate_from:3", (None, 2, 3, False, ()), "slave"),
        ("propagate_from:3 shared:1 master:2", (1, 2, 3, False, ()), "shared-and-slave"),
        ("unbindable", (None, None, None, True, ()), "unbindable"),
        ("tomorrow:7 shared:1 -x unbound", (1, None, None, False, ("tomorrow:7", "-x", "unbound")),
         "shared"),
        ("unbindable x:-", (None, None, None, True, ("x:-",)), "unbindable"),
    ],
)  # fmt: skip
def test_optional_fields_come_in_any_number_and_order(
    fields: str, expected: tuple[object, ...], propagation: str
) -> None:
    (mount,) = parse([with_optional(fields)])
    assert mount == (*MOUNT[:7], *expected, *MOUNT[12:])
    assert mount.propagation == propagation
    assert sorted(mount.optional_fields.split()) == sorted(fields.split())


def test_an_empty_source_is_none_and_none_is_a_name() -> None:
    empty, name = parse(["9 8 0:7 / /x rw - tmpfs  rw", "9 8 0:7 / /x rw - tmpfs none rw"])
    assert (empty.source, empty.super_options) == ("", "rw")
    assert (name.source, name.super_options) == ("none", "rw")
    assert format_line(empty) == "9 8 0:7 / /x rw - tmpfs  rw"


def test_a_folder_may_be_named_deleted() -> None:
    assert MOUNT._replace(root="/gone//deleted").deleted
    for root in ("/deleted", "/x (deleted)", "/"):
        assert not MOUNT._replace(root=root).deleted


def test_escapes() -> None:
    assert unescape(r"a\040b\011c\012d\134e\043f") == "a b\tc\nd\\e#f"
    assert unescape(r"\134040") == r"\040"
    assert unescape(r"C:\;path\05\777") == r"C:\;path\05\777"
    assert escape("a b\tc\nd\\e#f") == r"a\040b\011c\012d\134e#f"
    line = r"9 8 0:7 /r\134 /m\040#\012 rw - ty\040pe so\043urce rw,lowerdir=a\054b"
    (mount,) = parse([line])
    assert mount[4:6] == ("/r\\", "/m #\n")
    assert mount[12:] == ("ty pe", "so#urce", r"rw,lowerdir=a\054b")
    assert format_line(mount) == line


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "blank"),
        ("  ", "blank"),
        (PLAIN.replace(" - ", " "), "no separator"),
        (PLAIN.replace(" - ", " -"), "no separator"),
        (PLAIN[:30], "no separator"),
        (f" {PLAIN}", "empty field"),
        (PLAIN.replace(" /mnt2 ", "  "), "empty field"),
        (PLAIN.replace(" - ", "  - "), "empty field"),
        (PLAIN.replace(" rw,noatime", ""), "5 fields before the separator"),
        (PLAIN.replace("36", "x6"), "mount id 'x6'"),
        (PLAIN.replace("36", "3_6"), "mount id '3_6'"),
        (PLAIN.replace("36", "٣٦"), "mount id '٣٦'"),
        (PLAIN.replace("36", "3" * 5000), "mount id '333"),
        (PLAIN.replace(" 35", " -35"), "parent id '-35'"),
        (PLAIN.replace("98:0", "98"), "device '98'"),
        (PLAIN.replace("98:0", "98:"), "device '98:'"),
        (PLAIN.replace("98:0", "8:x"), "device '8:x'"),
        (with_optional("shared:"), "'shared:' has no number"),
        (with_optional("shared"), "'shared' has no number"),
        (with_optional("master:1x"), "'master:1x' has no number"),
        (with_optional("shared:1 shared:2"), "two optional fields 'shared'"),
        (PLAIN.removesuffix(" rw,errors=continue"), "super options"),
        (PLAIN.removesuffix("rw,errors=continue"), "super options"),
        (PLAIN.replace("ext3", ""), "type"),
        (PLAIN[: PLAIN.index("ext3")], "type"),
        (PLAIN.replace("/mnt2", "/mn\nt2"), "newline"),
        (PLAIN + "\n\n", "newline"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_named(line: str, problem: str) -> None:
    with pytest.raises(ParseError) as raised:
        parse([PLAIN, PLAIN + "\n", line, PLAIN], "dump.txt")
    assert raised.value.line == 3
    assert raised.value.message.startswith("dump.txt, line 3: ")
    assert problem in raised.value.message


def test_every_cut_of_a_line_before_its_super_options_is_an_error() -> None:
    for length in range(len(with_optional("shared:1")) - len("rw,errors=continue") + 1):
        with pytest.raises(ParseError):
            parse([with_optional("shared:1")[:length]])


# Generated mounts

names = st.binary(min_size=1, max_size=12).map(
    lambda name: name.replace(b"\0", b"#").replace(b"/", b" ").decode("utf-8", "surrogateescape")
)
nasty = st.text(alphabet=" \t\n\\#-:\r\v\x85\u2028\udcff0134", min_size=1, max_size=8)
paths = st.lists(names | nasty, max_size=4).map(lambda parts: "/" + "/".join(parts))
options = st.sampled_from(["rw", "ro,nosuid", "rw,relatime,idmapped"])
numbers = st.integers(0, 2**31 - 1)
groups = st.none() | numbers
unknown = st.text(alphabet="abc-:=1\\\udc80", min_size=1).filter(
    lambda field: field not in ("-", "unbindable")
)
mounts = st.builds(
    Mount,
    *[numbers] * 4,
    paths | st.just("/gone//deleted") | st.just("mnt:[4026531841]"),
    paths,
    options,
    *[groups] * 3,
    st.booleans(),
    st.lists(unknown, max_size=2).map(tuple),
    names | nasty | st.just("fuse.sshfs"),
    names | nasty | st.just(""),
    st.sampled_from(["rw", "ro"]).flatmap(
        lambda word: nasty.map(lambda text: word + "," + text.replace("\n", "."))
    ),
)


@given(st.lists(mounts, max_size=5))
def test_whatever_is_printed_is_parsed_again(table: list[Mount]) -> None:
    lines = [format_line(mount) for mount in table]
    assert not any("\n" in line for line in lines)
    assert parse(lines) == table
    assert parse("".join(f"{line}\n" for line in lines)) == table


@given(names | nasty)
def test_escapes_are_undone(name: str) -> None:
    assert unescape(escape(name)) == name
    assert not set(escape(name)) & set(" \t\n")


@given(st.text(alphabet=" -:/\na", max_size=40), st.integers(0, len(PLAIN)))
def test_a_line_with_noise_comes_back_whole_or_is_an_error(noise: str, where: int) -> None:
    line = PLAIN[:where] + noise + PLAIN[where:]
    try:
        (mount,) = parse([line])
    except ParseError:
        return
    assert format_line(mount) == line.removesuffix("\n")
