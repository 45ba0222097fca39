# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The flag tables against the headers of the kernel and of glibc, and the decoding of arguments."""

import ast
import operator
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnttrace.linux import flags
from mnttrace.linux.errnos import ERRORS, errno_name

LINUX = Path("/usr/include/linux")

# Masks, older names for the same bit, and constants of other calls in the same headers.
NOT_FLAGS = {
    "MS_VERBOSE", "MS_RMT_MASK", "MS_MGC_VAL", "MS_MGC_MSK",
    "MOVE_MOUNT__MASK", "MOUNT_ATTR_SIZE_VER0",
    "CLONE_ARGS_SIZE_VER0", "CLONE_ARGS_SIZE_VER1", "CLONE_ARGS_SIZE_VER2",
    "EWOULDBLOCK", "EDEADLOCK",
}  # fmt: skip

OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.LShift: operator.lshift,
    ast.BitOr: operator.or_,
}


def value_of(expression: str) -> int:
    """A C constant expression of numbers, << and |."""

    def compute(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](compute(node.left), compute(node.right))
        assert isinstance(node, ast.Constant), expression
        return int(node.value)

    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)(?:[uUlL]+)\b", r"\1", expression)
    return compute(ast.parse(text.replace("O_CLOEXEC", "0o2000000"), mode="eval").body)


def constants(header: Path, prefix: str) -> dict[str, int]:
    """The macros and enumerators of a header whose name begins with the prefix."""
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    text = re.sub(r"/\*.*?\*/", " ", header.read_text().replace("\\\n", " "), flags=re.DOTALL)
    macros = re.findall(rf"^[ \t]*#define[ \t]+({prefix}\w*)[ \t]+(.+?)[ \t]*$", text, re.MULTILINE)
    enumerators = re.findall(rf"^\s*({prefix}\w*)\s*=\s*(\w+)\s*,?\s*$", text, re.MULTILINE)
    return {
        name: value_of(value)
        for name, value in macros + enumerators
        if name not in NOT_FLAGS and name != value
    }


@pytest.mark.parametrize(
    ("header", "prefix", "table", "least"),
    [
        ("mount.h", "MS_", {**flags.MOUNT, **flags.PROPAGATION}, 31),
        ("mount.h", "OPEN_TREE_", flags.OPEN_TREE, 2),
        ("mount.h", "MOVE_MOUNT_", flags.MOVE_MOUNT, 7),
        ("mount.h", "FSOPEN_", flags.FSOPEN, 1),
        ("mount.h", "FSMOUNT_", flags.FSMOUNT, 1),
        ("mount.h", "FSPICK_", flags.FSPICK, 4),
        ("mount.h", "FSCONFIG_", {n: i for i, n in enumerate(flags.FSCONFIG_COMMANDS)}, 8),
        ("mount.h", "MOUNT_ATTR_", {**flags.MOUNT_ATTR, **flags.MOUNT_ATTR_ATIME}, 11),
        ("sched.h", "CLONE_", flags.CLONE, 27),
        ("sched.h", "UNSHARE_", flags.UNSHARE, 0),
    ],
)
def test_every_constant_of_the_header_is_in_its_table(
    header: str, prefix: str, table: Mapping[str, int], least: int
) -> None:
    found = constants(LINUX / header, prefix)
    assert len(found) >= least
    assert {name: table.get(name) for name in found} == found


def test_the_at_flags_are_those_of_the_header() -> None:
    header = constants(LINUX / "fcntl.h", f"(?:{'|'.join(flags.AT)})")
    assert header == flags.AT


def test_the_umount_flags_are_those_of_glibc() -> None:
    headers = sorted(Path("/usr/include").glob("**/sys/mount.h"))
    if not headers:
        pytest.skip("glibc's sys/mount.h is not installed")
    found = constants(headers[0], "(?:MNT_|UMOUNT_)")
    assert found == flags.UMOUNT


def test_the_numbers_of_errors_are_those_of_this_system() -> None:
    generic = Path("/usr/include/asm-generic")
    headers = [constants(generic / name, "E") for name in ("errno-base.h", "errno.h")]
    found = {number: name for header in headers for name, number in header.items()}
    assert {number: name for number, name in ERRORS.items() if number < 512} == found


def test_the_numbers_of_signals_are_those_of_this_system() -> None:
    for number in signal.valid_signals():
        if number < 32:
            assert signal.Signals[flags.clone_flags(number)] == number


TABLES = [
    flags.MOUNT, flags.PROPAGATION, flags.UMOUNT, flags.OPEN_TREE, flags.MOVE_MOUNT, flags.FSOPEN,
    flags.FSMOUNT, flags.FSPICK, flags.MOUNT_ATTR, flags.AT, flags.CLONE, flags.UNSHARE,
]  # fmt: skip


@given(st.sampled_from(TABLES), st.integers(0, 2**64 - 1))
def test_decoding_loses_no_bit(table: Mapping[str, int], value: int) -> None:
    words = flags.decode(table, value).split("|") if value else []
    assert sum(table[word] if word in table else int(word, 16) for word in words) == value
    assert [word for word in words[:-1] if word not in table] == []


@given(st.sampled_from(sorted(flags.DECODERS)), st.integers(-(2**63), 2**64 - 1))
def test_every_register_can_be_decoded(meaning: str, value: int) -> None:
    assert isinstance(flags.DECODERS[meaning](value), str)


@pytest.mark.parametrize(
    ("value", "propagation", "rest"),
    [
        (0, "", ""),
        (0x1000 | 0x4000, "", "MS_BIND|MS_REC"),
        (0x100000 | 0x4000, "shared", "MS_REC"),
        (0x80000, "slave", ""),
        (0x40000 | 0x200, "private", "0x200"),
        (0x20000, "unbindable", ""),
        (0x180000, "slave|shared", ""),
        (0xC0ED0000 | 0x1000, "", "MS_MGC_VAL|MS_BIND"),
        (0xC0ED0000, "", "MS_MGC_VAL"),
        (1 << 40, "", "0x10000000000"),
    ],
)
def test_mount_flags_are_split(value: int, propagation: str, rest: str) -> None:
    assert flags.split_mount_flags(value) == (propagation, rest)


def test_the_old_magic_number_hides_the_upper_half() -> None:
    assert flags.mount_flags(0xC0ED0000 | 0x1001) == "MS_MGC_VAL|MS_RDONLY|MS_BIND"
    assert flags.mount_flags(0xC0EC0000).startswith("MS_KERNMOUNT") is False
    assert "MS_MGC_VAL" not in flags.mount_flags(0xC0EC0000)


@pytest.mark.parametrize(
    ("value", "action"),
    [
        (0, "new"),
        (0x1 | 0x400, "new"),
        (0x20, "remount"),
        (0x20 | 0x1000 | 0x1, "reconfigure"),
        (0x1000 | 0x4000, "bind"),
        (0x1000 | 0x100000, "bind"),
        (0x100000 | 0x2000, "propagation"),
        (0x2000, "move"),
        (0xC0ED0000 | 0x2000, "move"),
    ],
)
def test_what_mount_does(value: int, action: str) -> None:
    assert flags.mount_action(value) == action


@pytest.mark.parametrize(
    ("meaning", "value", "text"),
    [
        ("umount", 0, ""),
        ("umount", 10, "MNT_DETACH|UMOUNT_NOFOLLOW"),
        ("open_tree", 0x80000 | 0x8000 | 1, "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE"),
        ("move_mount", 0x204, "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_BENEATH"),
        ("fsconfig", 6, "FSCONFIG_CMD_CREATE"),
        ("fsconfig", 0, "FSCONFIG_SET_FLAG"),
        ("fsconfig", 99, "0x63"),
        ("mount_attr", 0, ""),
        ("mount_attr", 0x10 | 1, "MOUNT_ATTR_NOATIME|MOUNT_ATTR_RDONLY"),
        ("mount_attr", 0x20, "MOUNT_ATTR_STRICTATIME"),
        ("mount_attr", 0x70, "MOUNT_ATTR__ATIME"),
        ("mount_attr", 0x30 | 2, "MOUNT_ATTR_NOSUID|0x30"),
        ("clone", 0x00020011, "CLONE_NEWNS|SIGCHLD"),
        ("clone", 0x11, "SIGCHLD"),
        ("clone", 34, "SIG34"),
        ("clone3", 0x00020080, "CLONE_NEWTIME|CLONE_NEWNS"),
        ("clone3", 0x11, "0x11"),
        ("clone3", 1 << 37, "CLONE_EMPTY_MNTNS"),
        ("unshare", 0x00120000, "CLONE_NEWNS|UNSHARE_EMPTY_MNTNS"),
        ("setns", 0, ""),
        ("setns", 0x00020000 | 0x40000000, "CLONE_NEWNS|CLONE_NEWNET"),
        ("dfd", -100, "AT_FDCWD"),
        ("dfd", 0xFFFFFF9C, "AT_FDCWD"),
        ("dfd", 0xFFFFFFFFFFFFFF9C, "AT_FDCWD"),
        ("dfd", 7, "7"),
        ("dfd", -1, "-1"),
    ],
)
def test_arguments_are_decoded(meaning: str, value: int, text: str) -> None:
    assert flags.DECODERS[meaning](value) == text


@pytest.mark.parametrize(
    ("result", "name"),
    [(0, ""), (7, ""), (-16, "EBUSY"), (-95, "EOPNOTSUPP"), (-512, "ERESTARTSYS"),
     (-524, "ENOTSUPP"), (-41, "errno 41"), (-4095, "errno 4095")],
)  # fmt: skip
def test_results_are_named(result: int, name: str) -> None:
    assert errno_name(result) == name


# The calls whose flags a recording has by name; the upper half of mount's is not read with magic.
NAMED = ("mount", "umount", "open_tree", "move_mount", "fsopen", "fsmount", "fspick", "at", "clone",
         "clone3", "unshare", "setns")  # fmt: skip


@pytest.mark.parametrize("meaning", NAMED)
@given(value=st.integers(0, 0xFFFFFFFF))
def test_names_are_numbers_again(meaning: str, value: int) -> None:
    if meaning == "mount" and value & flags.MS_MGC_MSK == flags.MS_MGC_VAL:
        value &= 0xFFFF | flags.MS_MGC_VAL
    assert flags.flags_value(flags.DECODERS[meaning](value)) == value


@given(value=st.integers(0, 0xFFFFFFFF))
def test_names_and_propagation_are_a_number_again(value: int) -> None:
    propagation, rest = flags.split_mount_flags(value)
    assert flags.mount_flags(flags.flags_value(rest, propagation)) == flags.mount_flags(value)


@pytest.mark.parametrize("command", [0, 6, 8, 9, 40])
def test_a_command_is_a_number_again(command: int) -> None:
    assert flags.flags_value(flags.fsconfig_command(command)) == command
