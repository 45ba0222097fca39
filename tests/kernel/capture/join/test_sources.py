# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mount a bind is a copy of, where several of the file system are at, or above, the path."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests import CHECKOUT
from tests.kernel.recordings import Record, Recorded

BEFORE = "mkdir a b c; mount -t tmpfs disk a; mkdir a/d a/d/e"


def bound(recorded: Recorded, path: Path) -> list[tuple[int, int]]:
    """The mounts that were bound to a path, and what each is a copy of, by unique ids."""
    rows = recorded.rows("effects", action="attach", via="direct", mountpoint=str(path))
    return [(row["mnt_id_unique"], row["copy_of_unique"]) for row in rows]


def test_a_bind_of_a_stack_is_one_of_its_top(record: Record, tmp_path: Path) -> None:
    recorded = record(
        """
        for n in 1 2 3 4 5; do mount --bind a a; done
        mount --bind a b
        mount --bind a/d c""",
        before=BEFORE,
    )
    stack = bound(recorded, tmp_path / "a")
    assert len(stack) == 5
    for (lower, _), (_, source) in pairwise(stack):
        assert source == lower
    top = stack[-1][0]
    assert [source for _, source in bound(recorded, tmp_path / "b")] == [top]
    assert [source for _, source in bound(recorded, tmp_path / "c")] == [top]


def test_what_is_covered_is_not_bound(record: Record, tmp_path: Path) -> None:
    recorded = record(
        """
        mount --bind a/d/e a/d/e
        mount --bind a/d a/d
        mount --bind a/d/e b
        mount --bind a a
        mount --bind a/d/e c""",
        before=BEFORE,
    )
    [(cover, _)] = bound(recorded, tmp_path / "a/d")
    [(top, _)] = bound(recorded, tmp_path / "a")
    assert [source for _, source in bound(recorded, tmp_path / "b")] == [cover]
    assert [source for _, source in bound(recorded, tmp_path / "c")] == [top]


def test_a_covered_mount_is_bound_by_a_descriptor(record: Record, tmp_path: Path) -> None:
    recorded = record(
        """
        mount --bind a/d a/d
        exec 5<a/d
        mount --bind a a
        """
        # mount(8) would give the kernel the path that the link reads as.
        f"""echo 'assert call("mount", "/proc/self/fd/5", "b", "", 0x1000, 0) == 0' |
            python3 {CHECKOUT}/tests/kernel/calls.py""",
        before=BEFORE,
    )
    [(held, _)] = bound(recorded, tmp_path / "a/d")
    assert [source for _, source in bound(recorded, tmp_path / "b")] == [held]
