# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace timeline`: of a target, a namespace, from a moment on, or of what failed."""

from __future__ import annotations

import re

import pytest

from tests.kernel.analysis.situations import BEFORE, hold
from tests.kernel.recordings import Record, Recorded

SCRIPT = (
    """
    mount -t tmpfs of-timeline srv/x
    mount -t tmpfs not-asked srv/y
    mount -o remount,bind,ro srv/x
    mount --make-private srv/x; mount --make-private srv/x
    mount -t ext4 /dev/nothing srv/x || true
    mount --bind srv/x nowhere || true
    """
    + hold("private")
    + "rmdir srv/gone"
)


@pytest.fixture
def recorded(record: Record) -> Recorded:
    # A namespace that is there before is watched from the beginning.
    holder = hold("private", "mount -t tmpfs inside srv/gone") + "mv pid pid-before\n"
    return record(SCRIPT, before=BEFORE + "mkdir srv/y srv/gone\n" + holder)


def numbers(text: str) -> list[int]:
    """The operations that are listed."""
    return [int(found) for found in re.findall(r"^ *([0-9]+) [0-9:.]+ ", text, re.M)]


def test_of_a_mount_what_happened_to_it_and_what_was_tried(recorded: Recorded, mnttrace) -> None:
    place = f"{recorded.folder}/srv/x"
    told = mnttrace("timeline", "run.mnttrace", place).stdout
    wanted = {row["seq"] for row in recorded.rows("operations", path=place)}
    wanted |= {row["seq"] for row in recorded.rows("operations", syscall="unshare")}
    effects = [row["seq"] for row in recorded.rows("effects", source="of-timeline")]
    assert set(numbers(told)) == wanted | set(effects)
    assert "not-asked" not in told
    assert "1 more like it" not in told  # of the namespace's birth this mount alone
    by_source = mnttrace("timeline", "run.mnttrace", "of-timeline").stdout
    assert numbers(by_source) == numbers(told)
    frame = recorded.run.timeline(place)
    assert set(frame["seq"].dropna()) == set(numbers(told))


def test_of_a_path_where_nothing_could_be_mounted(recorded: Recorded, mnttrace) -> None:
    told = mnttrace("timeline", "run.mnttrace", f"{recorded.folder}/nowhere").stdout
    [failed] = recorded.rows("operations", path=f"{recorded.folder}/nowhere")
    assert numbers(told) == [failed["seq"]]
    assert told.startswith(f"nothing was mounted at {recorded.folder}/nowhere: it lies on ")


def test_of_a_namespace_from_a_moment_on_and_of_what_failed(recorded: Recorded, mnttrace) -> None:
    pid = (recorded.folder / "pid").read_text().strip()
    inside = mnttrace("timeline", "run.mnttrace", "--ns", pid).stdout
    [made] = recorded.rows("operations", syscall="unshare")
    [rmdir] = [
        row for row in recorded.rows("operations") if row["syscall"].startswith(("rm", "unl"))
    ]
    assert made["seq"] in numbers(inside)
    before = (recorded.folder / "pid-before").read_text().strip()
    assert rmdir["seq"] in numbers(mnttrace("timeline", "run.mnttrace", "--ns", before).stdout)
    assert not any(f'"{recorded.folder}/srv/y"' in line for line in inside.splitlines())
    assert numbers(mnttrace("timeline", "run.mnttrace", f"sleep[{pid}]").stdout) == numbers(inside)

    failed = [row["seq"] for row in recorded.rows("operations") if row["error"]]
    told = mnttrace("timeline", "run.mnttrace", "--failed", "--ns", "host").stdout
    assert numbers(told) == failed
    assert len(failed) == 2

    for since in (f"{made['ts']}", f"{made['ts']:%H:%M:%S.%f}"):
        told = mnttrace("timeline", "run.mnttrace", "--ns", "host", "--since", since).stdout
        after = [row["seq"] for row in recorded.rows("operations") if row["ts"] >= made["ts"]]
        assert numbers(told) == [seq for seq in after if seq in numbers(told)]
        assert numbers(told)[0] == made["seq"]
        assert rmdir["seq"] in numbers(told)
    wrong = mnttrace("timeline", "run.mnttrace", "--since", "soon")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "'soon' is no time" in wrong.stderr
    assert mnttrace("timeline", "run.mnttrace", "--ns", "no-such").returncode == 2


def test_what_the_kernel_ignores_is_not_shown(recorded: Recorded, mnttrace) -> None:
    """mount(8) gives a remount the source that /proc has; mount(2) does not look at it."""
    told = mnttrace("timeline", "run.mnttrace", "of-timeline").stdout
    assert f'mount("{recorded.folder}/srv/x", MS_RDONLY|MS_REMOUNT|MS_BIND' in told
    assert f'"{recorded.folder}/of-timeline"' not in told


def test_a_call_that_changed_nothing_is_said_to(recorded: Recorded, mnttrace) -> None:
    first, second = recorded.rows(
        "operations", path=f"{recorded.folder}/srv/x", propagation="private"
    )
    lines = mnttrace("timeline", "run.mnttrace", "of-timeline").stdout.splitlines()
    at = {int(line.split()[0]): n for n, line in enumerate(lines) if line[:5].strip()}
    assert lines[at[second["seq"]] + 1].strip() == "no mount was changed by it"
    assert lines[at[first["seq"]] + 1].strip().startswith("~ ")


def test_a_removed_mount_point_is_named_with_the_call(recorded: Recorded, mnttrace) -> None:
    place = f"{recorded.folder}/srv/gone"
    for command in (("timeline", "run.mnttrace"), ("why", "run.mnttrace", place)):
        assert f'(mount point "{place}") = 0' in mnttrace(*command).stdout
