# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Parts of a recording: what is chosen by time, namespace or path, and what a row then says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import mnttrace
from mnttrace.errors import BadInput

# A peer that lets its mount out, and a slave that only gets; both end when they are told to.
SCRIPT = """
mkfifo gate
unshare -m --propagation unchanged sh -ec '
    mkdir -p volume/out; mount -t tmpfs out volume/out; echo $$ >peer; read -r go <gate' &
until [ -s peer ]; do sleep .02; done
unshare -m --propagation slave sh -ec 'echo $$ >slave; exec sleep 1000' &
until [ -s slave ]; do sleep .02; done
mount -t tmpfs one volume/one
date +%s%N >t1
mount -t tmpfs two volume/two
date +%s%N >t2
mount -t tmpfs three other
"""
BEFORE = "mkdir volume other; mount -t tmpfs volume volume; mkdir volume/one volume/two"


@pytest.fixture
def run(record, tmp_path: Path) -> mnttrace.analysis.recording.Recording:
    record(SCRIPT, before=BEFORE)
    return mnttrace.load(tmp_path / "run.mnttrace")


def times(folder: Path) -> list[pd.Timestamp]:
    return [pd.Timestamp(int((folder / name).read_text()), tz="UTC") for name in ("t1", "t2")]


def test_by_time(run, tmp_path: Path) -> None:
    part = run.between(*times(tmp_path))
    mine = part.operations[part.operations["path"].str.startswith(str(tmp_path))]
    assert list(mine["source"]) == ["two"]
    effects = part.effects[part.effects["source"] == "two"]
    assert len(effects) == 3  # on the host, in the peer and in the slave
    leaks = part.leaks[part.leaks["source"].isin(["one", "two", "three", "out"])]
    assert set(leaks["mountpoint"]) == {f"{tmp_path}/volume/two"}
    # What it says of a mount is of the whole recording: they were there at its end.
    assert set(leaks["present"]) == {1}
    # A part of a part.
    assert part.under(str(tmp_path / "other")).operations.empty
    start = pd.Timestamp(run.meta["started"], tz="UTC")
    seconds = [(when - start).total_seconds() for when in times(tmp_path)]
    same = run.between(*seconds).operations
    assert set(same["seq"]) - set(part.operations["seq"]) == set()


def test_by_namespace(run, tmp_path: Path) -> None:
    pid = int((tmp_path / "peer").read_text())
    names = run.namespaces
    [inode] = names.loc[names["pid"] == pid, "ns"]
    part = run.namespace(inode)
    [ns_id] = part.namespaces["ns_id"]
    # What it did, what it got, what it was given at its birth, and what came out of it.
    assert set(part.operations["source"]) >= {"out"}
    assert "three" not in set(part.operations["source"])
    at_home = part.effects[part.effects["ns_id"] == run.meta["home_ns_id"]]
    assert set(at_home["source"]) == {"out"}
    born = part.effects[part.effects["via"] == "namespace-copy"]
    assert set(born["ns_id"]) == {ns_id}
    leaks = part.leaks
    assert ((leaks["src_ns_id"] == ns_id) | (leaks["dst_ns_id"] == ns_id)).all()
    assert {"other→host", "host→other"} == set(leaks["direction"])
    with pytest.raises(BadInput, match="no container in the recording is called"):
        run.container(str(pid))
    with pytest.raises(BadInput, match="no namespace in the recording is called 'nobody'"):
        run.namespace("nobody")


def test_by_path(run, tmp_path: Path) -> None:
    part = run.under(str(tmp_path / "volume"))
    assert set(part.operations["source"]) >= {"one", "two", "out"}
    assert "three" not in set(part.operations["source"])
    paths = part.effects["mountpoint"]
    assert paths.str.startswith(f"{tmp_path}/volume").all()
    assert part.under("/nowhere").leaks.empty


def test_a_time_outside_of_the_recording_is_refused(run) -> None:
    with pytest.raises(BadInput, match="is not within the recording"):
        run.between("2001-01-01", "2001-01-02")
    with pytest.raises(BadInput, match="is no time"):
        run.between("soon", "later")


def test_no_frame_has_object_columns_and_each_carries_what_is_missing(run) -> None:
    run.warnings.append("something is missing")
    frames = "operations effects propagations leaks mounts namespaces processes losses snapshots"
    for name in f"{frames} users refusals births doublings".split():
        frame = getattr(run, name)
        assert [column for column in frame if frame[column].dtype == object] == [], name
        assert frame.attrs["warnings"] == ["something is missing"], name
    assert not [column for column in run.timeline() if run.timeline()[column].dtype == object]


def test_a_timeline_of_one_mount(run, tmp_path: Path) -> None:
    told = run.timeline(str(tmp_path / "volume/one"))
    assert len(told) == 3
    assert set(told["action"]) == {"attach"}
    assert set(told["via"]) == {"direct", "peer", "slave"}
    assert told["seq"].nunique() == 1
    assert told["ts"].is_monotonic_increasing
    whole = run.timeline()
    assert set(whole["seq"].dropna()) >= set(run.operations["seq"])


def test_what_changed_between_two_recordings(record, tmp_path: Path) -> None:
    """The same script, with and without the propagation that lets the mount out."""
    runs = []
    for name, propagation in (("before", "unchanged"), ("after", "slave"), ("again", "slave")):
        shutil.rmtree(tmp_path / "run.mnttrace", ignore_errors=True)
        record(
            f"unshare -m --propagation {propagation} sh -ec 'mount -t tmpfs out volume/x'\n"
            "unshare -m --propagation slave true",
            before="mkdir -p volume; mount -t tmpfs volume volume; mkdir volume/x",
            after=f"cp -r run.mnttrace {name}.mnttrace",
        )
        runs.append(mnttrace.load(tmp_path / f"{name}.mnttrace").under(str(tmp_path)))
    before, after, again = runs
    [row] = mnttrace.compare(before, after).to_dict("records")
    assert (row["state"], row["mounts_before"], row["mounts_after"]) == ("gone", 1, 0)
    assert (row["direction"], row["mountpoint"]) == ("other→host", f"{tmp_path}/volume/x")
    assert row["src_name"] in ("sh*", "unshare*")  # by its first process, at birth or after it
    [row] = mnttrace.compare(after, before).to_dict("records")
    assert row["state"] == "new"
    assert mnttrace.compare(after, again).empty
    assert set(mnttrace.compare(before, before)["state"]) == {"same"}
