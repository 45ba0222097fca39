"""The mount table of a namespace: /proc/PID/mountinfo, as proc_pid_mountinfo(5) tells it.

The text is made by `show_mountinfo` in the kernel's fs/proc_namespace.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mnttrace.errors import ParseError

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


class Mount(NamedTuple):
    """One line of mountinfo, its octal escapes undone; ids are the kernel's, None where absent."""

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
    def device(self) -> str:
        """The device, as "major:minor"."""
        return f"{self.major}:{self.minor}"

    @property
    def propagation(self) -> str:
        """The type: shared, slave, shared-and-slave, private or unbindable."""
        if self.shared is not None:
            return "shared" if self.master is None else "shared-and-slave"
        if self.master is not None:
            return "slave"
        return "unbindable" if self.unbindable else "private"


def unescape(text: str) -> str:
    """Undo the octal escapes of seq_file's mangle_path."""
    if "\\" not in text:
        return text
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def parse(stream: Iterable[str], where: str = "mountinfo") -> list[Mount]:
    """The mounts of a table, in its order.

    Raises:
        ParseError: a line is malformed; the error has its number.
    """
    mounts = []
    for number, line in enumerate(stream, 1):
        try:
            mounts.append(_parse_line(line.rstrip("\n")))
        except ValueError as error:
            raise ParseError(where, number, str(error)) from error
    return mounts


def _parse_line(line: str) -> Mount:
    before, separator, after = line.partition(" - ")
    if not separator:
        raise ValueError("no separator ' - '")
    fields = before.split(" ")
    tail = after.split(" ")
    if len(fields) < 6 or len(tail) < 3:
        raise ValueError("too few fields")
    major, _, minor = fields[2].partition(":")
    tags, other = _optional(fields[6:])
    return Mount(
        int(fields[0]),
        int(fields[1]),
        int(major),
        int(minor),
        unescape(fields[3]),
        unescape(fields[4]),
        unescape(fields[5]),
        tags.get("shared"),
        tags.get("master"),
        tags.get("propagate_from"),
        "unbindable" in other,
        tuple(field for field in other if field != "unbindable"),
        unescape(tail[0]),
        unescape(tail[1]),
        unescape(" ".join(tail[2:])),
    )


def _optional(fields: list[str]) -> tuple[dict[str, int], list[str]]:
    tags: dict[str, int] = {}
    other = []
    for field in fields:
        tag, colon, value = field.partition(":")
        if colon and tag in {"shared", "master", "propagate_from"}:
            tags[tag] = int(value)
        elif field:
            other.append(field)
    return tags, other


def read(pid: int | str = "self") -> list[Mount]:
    """The table as one process sees it; nothing stays open, since that would pin the namespace.

    Raises:
        OSError: the process is gone, or a zombie (EINVAL); both are normal.
        ParseError: the kernel printed what we do not understand.
    """
    path = f"/proc/{pid}/mountinfo"
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        text = stream.read()
    return parse(text.split("\n")[:-1], path)
