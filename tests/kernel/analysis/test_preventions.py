# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is told to keep a mount from coming, or going, again: the scenario is done so, and leaves
exactly the mounts that the model promised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.diagnosis.preventions import Preventions
from tests.kernel.analysis.histories import Scenario, Step
from tests.short import some

SHARED = (
    "mkdir -p {d}/srv; mount -t tmpfs host {d}/srv; mount --make-shared {d}/srv; mkdir {d}/srv/x"
)
DISK = ("host", "mount -t tmpfs disk {d}/srv/x")
UMOUNT = ("host", "umount {d}/srv/x")
PRIVATE = ("A", "mount --make-rprivate /")
SLAVE = ("A", "mount --make-rslave /")
NEW = ("A", "new")

# Each with the path that is asked, and the kind of what is told.
SCENARIOS: dict[str, tuple[str, list[Step], str, str]] = {
    "held, private": (SHARED, [DISK, NEW, PRIVATE, UMOUNT], "{d}/srv/x", "slaves"),
    "held, the host's parent is private": (
        SHARED,
        [("host", "mount --make-private {d}/srv"), DISK, NEW, SLAVE, UMOUNT],
        "{d}/srv/x",
        "shared-before",
    ),
    "held, both": (
        SHARED,
        [("host", "mount --make-private {d}/srv"), DISK, NEW, PRIVATE, UMOUNT],
        "{d}/srv/x",
        "shared-and-slaves",
    ),
    "held by a mount on it": (
        SHARED,
        [DISK, NEW, SLAVE, ("A", "mkdir {d}/srv/x/y; mount -t tmpfs on {d}/srv/x/y"), UMOUNT],
        "{d}/srv/x",
        "nothing-on-it",
    ),
    "held, a tree": (
        SHARED,
        [
            DISK,
            ("host", "mkdir {d}/srv/x/y; mount -t tmpfs in {d}/srv/x/y"),
            NEW,
            PRIVATE,
            ("host", "umount {d}/srv/x/y"),
            UMOUNT,
        ],
        "{d}/srv/x",
        "slaves",
    ),
    "left by a namespace": (
        SHARED,
        [NEW, ("A", "mount -t tmpfs disk {d}/srv/x"), ("A", "end")],
        "{d}/srv/x",
        "slaves",
    ),
    "left by a namespace that made its mount shared": (
        SHARED,
        [
            ("host", "mount --make-private {d}/srv"),
            ("host", "mount --make-shared {d}/srv"),
            NEW,
            ("A", "mount -t tmpfs disk {d}/srv/x"),
            ("A", "end"),
        ],
        "{d}/srv/x",
        "slaves",
    ),
    "left by each start": (
        SHARED,
        [
            step
            for name in ("A", "B")
            for step in (
                (name, "new"),
                (name, "mount -t tmpfs disk {d}/srv/x"),
                (name, "end"),
            )
        ],
        "{d}/srv/x",
        "slaves",
    ),
    "lost with a bind": (
        SHARED,
        [
            DISK,
            ("host", "mkdir {d}/srv/x/y {d}/srv/copy; mount -t tmpfs in {d}/srv/x/y"),
            ("host", "mount --rbind {d}/srv/x {d}/srv/copy"),
            ("host", "umount -l {d}/srv/copy"),
        ],
        "{d}/srv/x/y",
        "slave-copy",
    ),
    "lost by a namespace": (
        SHARED,
        [DISK, NEW, ("A", "umount {d}/srv/x")],
        "{d}/srv/x",
        "slaves",
    ),
    "lost with its mount point": (
        SHARED,
        [NEW, PRIVATE, ("A", "mount -t tmpfs own {d}/srv/x"), ("host", "rmdir {d}/srv/x")],
        "{d}/srv/x",
        "not-removed",
    ),
}


@pytest.fixture
def scenario(in_namespace: Callable[..., Any], tmp_path: Path) -> Callable[..., Scenario]:
    return lambda before, steps: Scenario(in_namespace, tmp_path, steps, before)


OTHER = ["private", "rslave", "shared", ""]


def any_other_history_is_as_promised(done: Scenario) -> None:
    """Each operation is left out, or given another propagation type, and so done."""
    for number, (seq, step) in some(list(enumerate(done.by_seq.items())), 2):
        what = OTHER[(number + len(done.by_seq)) % len(OTHER)]
        if step[1] == "new" and not what:
            continue  # then nobody is there to do the rest
        found = done.run.replaced(f"{seq}: {what}")
        assert not found.differs
        if not found.elsewhere:  # whether a path exists below is not known
            assert done.changed(found.changes) == done.promised(found), (seq, what)


@pytest.mark.parametrize("name", some(list(SCENARIOS), 2))
def test_what_is_told_is_done(name: str, scenario: Callable[..., Scenario], tmp_path: Path) -> None:
    before, steps, asked, kind = SCENARIOS[name]
    done = scenario(before, steps)
    answer = done.run.why(asked.format(d=tmp_path))
    assert answer.not_tried == ""
    assert answer.prevention is not None
    assert answer.prevention.kind == kind
    promised = done.promised(answer.prevention.otherwise)
    assert promised != done.mounts
    assert done.changed(answer.prevention.changes) == promised
    any_other_history_is_as_promised(done)


GROWTH = {
    "targets in one peer group": (
        SHARED + " {d}/srv/a {d}/srv/b",
        [
            ("host", f"mount --bind {{d}}/srv/x {{d}}/srv/{target}")
            for _ in range(3)
            for target in ("a", "b")
        ],
        "private-copy",
    ),
    "below itself, in a private mount": (
        SHARED + " {d}/srv/x/t; mount --make-private {d}/srv",
        [("host", "mount --rbind {d}/srv/x {d}/srv/x/t") for _ in range(5)],
        "bind-alone",
    ),
    "below itself": (
        SHARED + " {d}/srv/x/t",
        [("host", "mount --rbind {d}/srv/x {d}/srv/x/t") for _ in range(4)],
        "bind-alone-and-private",
    ),
    "over namespaces": (
        SHARED + " {d}/srv/x/t; mkdir -p {d}/m; "
        "mount -t tmpfs m {d}/m; mount --make-private {d}/m; mkdir {d}/m/m",
        [
            step
            for name in ("A", "B", "C", "D")
            for step in (
                (name, "new"),
                (name, "mount --rbind {d}/srv {d}/m/m"),
                (name, "mount --rbind {d}/m/m/x {d}/m/m/x/t"),
                (name, "end"),
            )
        ],
        "slaves",
    ),
}


@pytest.mark.parametrize("name", GROWTH)
def test_what_is_told_keeps_binds_from_growing(
    name: str, scenario: Callable[..., Scenario]
) -> None:
    before, steps, kind = GROWTH[name]
    done = scenario(before, steps)
    [row] = [row for row in rows(done.run.doublings) if row["ns_id"] == done.recorded.home]
    told = Preventions(done.run, done.run.diagnosis).of_growth(row)
    assert told is not None
    assert told.kind == kind
    promised = done.promised(told.otherwise)
    assert promised.total() < done.mounts.total()
    assert done.changed(told.changes) == promised
    any_other_history_is_as_promised(done)


MISSING: dict[str, tuple[str, list[Step], str, str]] = {
    "from a slave": (SHARED, [NEW, SLAVE, ("A", "mount -t tmpfs disk {d}/srv/x")], "host", "sends"),
    "from a slave that was made shared": (
        SHARED,
        [
            NEW,
            SLAVE,
            ("A", "mount --make-shared {d}/srv"),
            ("A", "mount -t tmpfs disk {d}/srv/x"),
        ],
        "host",
        "sends",
    ),
    "from a private mount": (
        SHARED,
        [("host", "mount --make-private {d}/srv"), NEW, ("host", "mount -t tmpfs disk {d}/srv/x")],
        "A",
        "sends",
    ),
    "to a private mount": (
        SHARED,
        [NEW, PRIVATE, ("host", "mount -t tmpfs disk {d}/srv/x")],
        "A",
        "receives",
    ),
    "from a private mount to one": (
        SHARED,
        [
            ("host", "mount --make-private {d}/srv"),
            NEW,
            PRIVATE,
            ("host", "mount -t tmpfs disk {d}/srv/x"),
        ],
        "A",
        "sends-and-receives",
    ),
    "from what became a slave, then private": (
        SHARED,
        [
            NEW,
            SLAVE,
            ("A", "mount --make-private {d}/srv"),
            ("A", "mount -t tmpfs disk {d}/srv/x"),
        ],
        "host",
        "sends-throughout",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_told_brings_it_there(
    name: str, scenario: Callable[..., Scenario], tmp_path: Path
) -> None:
    before, steps, where, kind = MISSING[name]
    done = scenario(before, steps)
    [absence] = done.run.why(f"{tmp_path}/srv/x").missing
    assert done.names[absence.missing.namespace["ns_id"]] == where
    assert absence.prevention is not None
    assert absence.prevention.kind == kind
    promised = done.promised(absence.prevention.otherwise)
    key = next(one for one in promised if one[0] == where and one[1] == f"{tmp_path}/srv/x")
    assert key not in done.mounts
    assert done.changed(absence.prevention.changes) == promised
    any_other_history_is_as_promised(done)
