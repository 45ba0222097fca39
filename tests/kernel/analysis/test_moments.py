# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of any moment, against the kernel's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.errors import BadInput
from mnttrace.linux.mountinfo import Mount, parse
from mnttrace.linux.text import clean
from tests.unit.analysis.plain import told

# Mounts come, go, move and change while others have copies of them; `save` keeps the kernel's
# tables of all namespaces, and when that was.
SCRIPT = r"""
mkdir saved; children=
save() {
    number=$((${number-0} + 1))
    for pid in $$ $children; do
        ns=$(readlink /proc/$pid/ns/mnt | tr -dc 0-9)
        cat /proc/$pid/mountinfo >saved/$number.$ns
    done
    date +%s%N >saved/$number.time
}
child() {
    unshare --mount --propagation "$1" sleep 100 &
    children="$children $!"
    until [ "$(cat /proc/$!/comm)" = sleep ]; do sleep 0.01; done
}
save
mount -t tmpfs one base; mkdir base/a base/b base/c base/d "base/odd $(printf '\nname\377')"; save
mount --bind base/a base/b; mount -t tmpfs -o nosuid two base/c; mkdir base/c/in; save
child unchanged; save
child slave; child private; save
mount -t tmpfs three base/c/in; mkdir base/c/in/deep; save
mount -t tmpfs four base/c/in/deep; mount -t tmpfs five base/odd*; save
mount --make-private base; mount --make-rprivate base/c; save
mount -o remount,bind,ro,noexec base/c; save
mount --move base/c base/d; save
mount --move base/d base/a; save
mount -t tmpfs six base/a; mount -t tmpfs seven base/d; save
umount base/a base/d; save
umount -R base/a; mount --make-unbindable base; save
mkdir new; mkfifo go
unshare --mount --propagation private sh -ec '
    mount --rbind / new; cd new; pivot_root . .; umount -l .; cd /
    cd "$HERE"; touch pivoted; read -r word <go; mount -t tmpfs eight new; touch over
    read -r word <go' &
children="$children $!"
until [ -e pivoted ]; do sleep 0.01; done; save
echo >go; until [ -e over ]; do sleep 0.01; done; save
for pid in $children; do kill $pid; wait $pid || true; done; children=
umount base/odd* base/b; save
mount -t tmpfs nine base/b; save
"""


class Saved(NamedTuple):
    """What the kernel had: when, and by inode number of the namespace."""

    when: pd.Timestamp
    tables: dict[int, list[Mount]]


@pytest.fixture
def recorded(in_namespace: Callable[..., Any], tmp_path: Path) -> tuple[Recording, list[Saved]]:
    (tmp_path / "script").write_text(f"set -e\n{SCRIPT}")
    in_namespace("mkdir base; export HERE=$PWD; $MNTTRACE record -o run.mnttrace -- sh script 2>&1")
    saved = []
    for number in range(1, SCRIPT.count("save\n") + 1):
        files = (tmp_path / "saved").glob(f"{number}.*[0-9]")
        tables = {
            int(file.suffix[1:]): parse(
                file.read_text(errors="surrogateescape").split("\n")[:-1], str(file)
            )
            for file in files
        }
        when = int((tmp_path / "saved" / f"{number}.time").read_text())
        saved.append(Saved(pd.Timestamp(when, tz="UTC"), tables))
    return Recording(tmp_path / "run.mnttrace"), saved


NAMES = ["mount_id", "parent_id", "mountpoint", "root", "device", "shared", "master"]
NAMES += ["unbindable", "propagation", "fstype", "source"]


def _cleaned(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


def lines(table: list[Mount]) -> set[tuple[Any, ...]]:
    return {tuple(_cleaned(getattr(mount, name)) for name in NAMES) for mount in table}


def test_tables_are_those_of_the_kernel(recorded: tuple[Recording, list[Saved]]) -> None:
    run, saved = recorded
    assert len(saved) == SCRIPT.count("save\n") > 15
    assert max(len(one.tables) for one in saved) == 5
    known = []
    for number, (when, tables) in enumerate(saved, 1):
        found = run.at(when)
        for ns, table in tables.items():
            there = found[found["ns"] == ns]
            assert told(there, NAMES) == lines(table), (
                f"namespace {ns} when saved for the {number}. time"
            )
            # What came and went between two looks, and never was changed, has none.
            options = there.set_index("mount_id")["options"].dropna()
            assert options.to_dict() == {
                mount.mount_id: mount.options for mount in table if mount.mount_id in options
            }
            known += [len(options) / len(table)]
            assert not there["mnt_id_unique"].duplicated().any()
    assert sorted(known)[len(known) // 2] > 0.9
    gone = set(saved[-3].tables) - set(saved[-1].tables)
    assert len(gone) == 4
    assert not gone & set(run.at(pd.Timestamp(run.meta["stopped"], tz="UTC"))["ns"])


def test_changes_are_the_differences_of_the_kernels_tables(
    recorded: tuple[Recording, list[Saved]],
) -> None:
    run, saved = recorded
    home = run.namespaces.set_index("ns_id")["ns"][run.meta["home_ns_id"]]
    seen = set()
    for (before, old), (after, new) in pairwise(saved):
        found = run.diff(before, after)
        found = found[found["ns"] == home]
        # Mount ids are used again: of what is in both tables the device tells.
        was = {(mount.mount_id, mount.device): mount for mount in old[home]}
        now = {(mount.mount_id, mount.device): mount for mount in new[home]}
        both = was.keys() & now.keys()
        wanted = [("attach", *key) for key in now.keys() - both]
        wanted += [("detach", *key) for key in was.keys() - both]
        for key in both:
            places = [(one[key].parent_id, one[key].mountpoint) for one in (was, now)]
            settings = [
                (one[key].options, one[key].optional_fields, one[key].propagation)
                for one in (was, now)
            ]
            wanted += [("move", *key)] if places[0] != places[1] else []
            wanted += [("change", *key)] if settings[0] != settings[1] else []
        got = found[["action", "mount_id", "device"]].itertuples(index=False, name=None)
        assert sorted(got) == sorted(wanted)
        seen |= {action for action, *_ in wanted}
    assert seen == {"attach", "detach", "move", "change"}


def test_what_is_no_moment_of_the_recording(recorded: tuple[Recording, list[Saved]]) -> None:
    run, _ = recorded
    for when in (-0.001, 1e6, "2001-01-01", "soon"):
        with pytest.raises(BadInput):
            run.at(when)
