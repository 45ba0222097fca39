# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Entries of mount tables, where the kernel makes no lists."""

from __future__ import annotations

from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP, MountinfoEntries
from mnttrace.linux.mountinfo import Mount, parse
from mnttrace.linux.options import mount_options, super_options

TABLE = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /proc ro,nosuid - proc proc rw
23 21 8:1 /srv /data/web rw,noatime master:7 - ext4 /dev/sda1 ro,sync,errors=remount-ro
24 23 0:9 / /data/web/in rw unbindable - tmpfs tmp rw
"""


def entries(made: MountinfoEntries, lines: list[Mount]) -> dict[int, object]:
    return {entry.mount_id: entry for entry in made.of(4026531841, 0, lines, {})}


def test_a_mount_keeps_its_number_until_it_is_gone_and_another_gets_a_new_one() -> None:
    made, lines = MountinfoEntries(), parse(TABLE, "table")
    first = entries(made, lines)
    assert entries(made, lines) == first
    assert {entry.unique >= FIRST_MADE_UP for entry in first.values()} == {True}
    without = [line for line in lines if line.mount_id != 24]
    assert entries(made, without) == {id: first[id] for id in (21, 22, 23)}
    again = entries(made, lines)
    assert again[24].unique not in {entry.unique for entry in first.values()}
    # The number of another file system under the same mount id, at once.
    other = [line._replace(minor=10) if line.mount_id == 24 else line for line in lines]
    assert entries(made, other)[24].unique != again[24].unique


def test_what_a_list_of_the_kernel_would_tell() -> None:
    found = entries(MountinfoEntries(), parse(TABLE, "table"))
    assert found[21].parent_unique == found[21].unique
    assert found[24].parent_unique == found[23].unique
    assert (found[21].group, found[23].master) == (1, 7)
    assert found[24].mountpoint != found[23].mountpoint
    # /data/web/in is /srv/in of the file system.
    at_the_source = parse("30 21 0:11 / /srv/in rw - tmpfs tmp rw", "table")
    made = MountinfoEntries()
    both = entries(made, [*parse(TABLE, "table"), *at_the_source])
    assert both[30].mountpoint == both[24].mountpoint
    for line in parse(TABLE, "table"):
        assert mount_options(found[line.mount_id].flags) == line.options
    assert super_options(found[23].super_flags) == "ro,sync"


def test_what_has_no_unique_id_has_gone_since_the_table_was_read() -> None:
    lines = parse(TABLE, "table")
    unique = {21: 101, 22: 102, 23: 103}
    found = MountinfoEntries().of(4026531841, 7, lines, unique)
    assert {entry.mount_id: entry.unique for entry in found} == unique
