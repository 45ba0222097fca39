# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

r"""Reads and writes the mount tables of `/proc/PID/mountinfo`, byte for byte.

The format is that of proc_pid_mountinfo(5) and of `show_mountinfo()` (fs/proc_namespace.c). Text
comes from whoever mounted something or named a directory: it may have any byte but NUL. Bytes that
are not UTF-8 become surrogates (`surrogateescape`), and nothing is escaped for terminals.

What is not in the manual page:

- A carriage return and the other control characters are *not* escaped: split at "\n" only, and open
  a file with `newline="\n"`.
- "#" is escaped in the type and the source of a filesystem, not in paths.
- An empty source is printed as nothing, between two spaces; without any source it is "none".
- Super options are printed by each filesystem in its own way, some with bare spaces and backslashes
  (cifs, 9p), some with commas escaped (overlay). They cannot be unescaped without loss, and are
  kept as printed: all that follows the source.
"""

import functools
import itertools
import operator
import re
from collections.abc import Iterable
from typing import NamedTuple

from mnttrace.errors import ParseError


class Mount(NamedTuple):
    """One mount: the fields of a line of mountinfo in their order, text unescaped.

    (A named tuple, since it is built five times as fast as a frozen dataclass.)

    Attributes:
        mount_id: unique among the mounts that live now; used again soon after this one is gone.
        parent_id: the mount it is attached to, which a process in a chroot may not be shown.
        major, minor: the device, as in st_dev of files on it.
        root: what of the filesystem is mounted: a path within it, or like "mnt:[4026531841]".
        mountpoint: where, relative to the root directory of the process. Mounts that are outside of
            that directory have no line.
        options: per mount; as printed, the kernel has nothing to escape in them.
        shared: the peer group it is in, or None.
        master: the peer group it is a slave of, or None.
        propagate_from: the nearest dominant peer group under the process's root directory, where
            that is not the master; else None.
        unbindable: whether it is unbindable.
        other: optional fields of kernels to come, as printed.
        fstype: like "ext4", or with a subtype like "fuse.sshfs".
        source: what was asked to be mounted, like "/dev/sda1"; "none" or "" for nothing.
        super_options: per filesystem; as printed, with its escapes.
    """

    mount_id: int
    parent_id: int
    major: int
    minor: int
    root: str
    mountpoint: str
    options: str
    shared: int | None
    master: int | None
    propagate_from: int | None
    unbindable: bool
    other: tuple[str, ...]
    fstype: str
    source: str
    super_options: str

    @property
    def propagation(self) -> str:
        """The propagation type in the words of mount_namespaces(7).

        One of "shared", "slave", "shared-and-slave", "unbindable", "private".
        """
        return propagation_type(self.shared, self.master, self.unbindable)

    @property
    def device(self) -> str:
        """The device like "8:1"."""
        return f"{self.major}:{self.minor}"

    @property
    def optional_fields(self) -> str:
        """The optional fields as the kernel prints them, like "shared:1 master:2", or ""."""
        numbered = zip(_NUMBERED, self[7:10], strict=True)
        fields = [f"{tag}:{number}" for tag, number in numbered if number is not None]
        if self.unbindable:
            fields.append("unbindable")
        return " ".join([*fields, *self.other])

    @property
    def deleted(self) -> bool:
        """Whether the file or folder that is mounted (the root) was removed since.

        `dentry_path()` (fs/d_path.c) then ends it with "//deleted", which no path can. Mountpoints
        have no such mark: removing one detaches its mounts.
        """
        return self.root.endswith("//deleted")


def propagation_type(shared: int | None, master: int | None, unbindable: bool) -> str:
    """The propagation type of a mount in the words of mount_namespaces(7).

    Args:
        shared: its peer group, or None.
        master: the peer group that it is a slave of, or None.
        unbindable: whether it is unbindable.
    """
    if shared is not None:
        return "shared" if master is None else "shared-and-slave"
    if master is not None:
        return "slave"
    return "unbindable" if unbindable else "private"


# The optional fields with a number, in the order of show_mountinfo() and of Mount.
_NUMBERED = ("shared", "master", "propagate_from")

# What follows the mount id and the parent id.
_REST = re.compile(
    r"""
    ([0-9]{1,10}):([0-9]{1,10})[ ]              # major:minor
    ([^ \n]+)[ ]([^ \n]+)[ ]([^ \n]+)           # root, mountpoint, mount options
    (?:[ ]shared:([0-9]{1,10}))?                # optional fields in the order of show_mountinfo()
    (?:[ ]master:([0-9]{1,10}))?
    (?:[ ]propagate_from:([0-9]{1,10}))?
    ([ ]unbindable)?
    ((?:[ ](?!-[ ])[^ \n]+)*)[ ]-[ ]            # other optional fields, separator
    ([^ \n]+)[ ]([^ \n]*)[ ]([^\n]+)\n?         # filesystem type, source, super options
    """,
    re.VERBOSE,
)
_OPTIONS, _FSTYPE = 5, 11  # groups on both sides of the optional fields
_TOO_MANY = 10**10  # ids have at most ten digits
_KEPT = 1 << 14  # some 10 MB


def parse(stream: Iterable[str], where: str = "mountinfo") -> list[Mount]:
    r"""The mounts of a table, in its order.

    Args:
        stream: its lines, with or without "\n"; or all of its text.
        where: what to call it in errors.

    Raises:
        ParseError: for the first line that the kernel cannot have printed.
    """
    if isinstance(stream, str):
        stream = stream.removesuffix("\n").split("\n") if stream else []
    lines = list(stream)
    try:
        return _mounts(lines)
    except ValueError:
        for number, line in enumerate(lines, 1):
            try:
                _mounts([line])
            except _UnexpectedField as error:
                raise ParseError(where, number, str(error)) from None
            except ValueError:
                raise ParseError(where, number, _problem(line)) from None
        raise


def _mounts(lines: list[str]) -> list[Mount]:
    """The mounts of some lines; the hot path, with tables of 10,000 mounts and 1,000 tables.

    A copy of a mount in another namespace has other ids, and the rest of its line is the same: that
    is parsed once. So is the id of a parent that many mounts are attached to.

    Raises:
        ValueError: the kernel cannot have printed one of them.
    """
    if not lines:
        return []
    ids, parents, rests = zip(*[line.split(" ", 2) for line in lines], strict=True)
    digits = "".join(ids + parents)
    if not (digits.isdigit() and digits.isascii()):
        raise ValueError
    mount_ids = list(map(int, ids))
    parent_ids = {text: int(text) for text in set(parents)}
    if max(*mount_ids, *parent_ids.values()) >= _TOO_MANY:
        raise ValueError
    both = zip(mount_ids, map(parent_ids.__getitem__, parents), strict=True)
    fields = map(operator.add, both, map(_parsed, rests))
    return list(map(tuple.__new__, itertools.repeat(Mount), fields))


@functools.lru_cache(_KEPT)
def _parsed(rest: str) -> tuple[object, ...]:
    """The fields of a line after the two ids.

    Raises:
        ValueError: the kernel cannot have printed that.
    """
    found = _REST.fullmatch(rest)
    if found is None:
        raise ValueError
    # fmt: off
    (
        major, minor, root, mountpoint, options,
        shared, master, propagate_from, unbindable, other, fstype, source, super_options,
    ) = found.groups()
    # fmt: on
    if other:
        optional = _optional(rest[found.end(_OPTIONS) : found.start(_FSTYPE) - len(" - ")])
    else:
        optional = (
            int(shared) if shared else None,
            int(master) if master else None,
            int(propagate_from) if propagate_from else None,
            unbindable is not None,
            (),
        )
    if "\\" in rest:
        root, mountpoint = unescape(root), unescape(mountpoint)
        fstype, source = unescape(fstype), unescape(source)
    place = (int(major), int(minor), root, mountpoint, options)
    return *place, *optional, fstype, source, super_options


def format_line(mount: Mount) -> str:
    """The line that the kernel prints for a mount, without a newline at its end.

    It differs where the source has a "#": older kernels, and nfs and btrfs, which print their
    source themselves, leave that bare.
    """
    optional = mount.optional_fields
    return (
        f"{mount.mount_id} {mount.parent_id} {mount.device} "
        f"{escape(mount.root)} {escape(mount.mountpoint)} {mount.options} "
        f"{optional}{' ' if optional else ''}- "
        f"{_escape_name(mount.fstype)} {_escape_name(mount.source)} {mount.super_options}"
    )


_ESCAPES = {" ": r"\040", "\t": r"\011", "\n": r"\012", "\\": r"\134"}
_PATH_ESCAPES = str.maketrans(_ESCAPES)
_NAME_ESCAPES = str.maketrans(_ESCAPES | {"#": r"\043"})
_UNESCAPED = {escaped: character for character, escaped in [*_ESCAPES.items(), ("#", r"\043")]}
_ESCAPED = re.compile(r"\\(?:040|011|012|134|043)")


def escape(text: str) -> str:
    """A path as the kernel prints it: space, tab, newline and backslash in octal."""
    return text.translate(_PATH_ESCAPES)


def _escape_name(text: str) -> str:
    """A type or source as `mangle()` (fs/proc_namespace.c) prints it: "#" in octal, too."""
    return text.translate(_NAME_ESCAPES)


def unescape(text: str) -> str:
    """Text of the kernel's without its escapes; other backslashes stay."""
    return _ESCAPED.sub(lambda found: _UNESCAPED[found[0]], text)


class _UnexpectedField(ValueError):
    """An optional field that no kernel prints."""


_Optional = tuple[int | None, int | None, int | None, bool, tuple[str, ...]]


def _optional(text: str) -> _Optional:
    """Optional fields, each behind a space, in any order; as the attributes of a Mount.

    Raises:
        _UnexpectedField: for a known one that has no number, or comes twice.
    """
    numbers: dict[str, int] = {}
    unbindable = False
    other = []
    for field in text[1:].split(" "):
        tag, _, number = field.partition(":")
        if tag in _NUMBERED:
            if tag in numbers:
                raise _UnexpectedField(f"two optional fields {tag!r}")
            numbers[tag] = _number(field, number)
        elif field == "unbindable":
            unbindable = True
        else:
            other.append(field)
    get = numbers.get
    return get("shared"), get("master"), get("propagate_from"), unbindable, tuple(other)


_NUMBER = re.compile("[0-9]{1,10}")


def _number(field: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _UnexpectedField(f"optional field {field!r} has no number")
    return int(text)


def _problem(line: str) -> str:
    """What is wrong with a line."""
    if not line.strip():
        return "blank"
    before, separator, after = line.removesuffix("\n").partition(" - ")
    if not separator:
        return "no separator ' - '"
    fields = before.split(" ")
    if "" in fields:
        return "an empty field before the separator"
    if len(fields) < 6:
        return f"{len(fields)} fields before the separator, 6 are the least"
    for name, text in zip(("mount id", "parent id"), fields, strict=False):
        if not _NUMBER.fullmatch(text):
            return f"{name} {text!r} is not a number"
    if not re.fullmatch("[0-9]{1,10}:[0-9]{1,10}", fields[2]):
        return f"device {fields[2]!r} is not MAJOR:MINOR"
    if len(after.split(" ", 2)) < 3 or after.startswith(" ") or after.endswith(" "):
        return "type, source or super options are missing after the separator"
    return "a newline within it"
