# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Problems that people had with real containers: each ends in its kind, its cause and a remedy.

What they had, and how they found it by hand, is in the threads that are named.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnttrace.analysis.recording import Recording
from tests.runtimes.runtimes import RUNTIMES, Container, own_cgroups, script
from tests.short import some

Run = Callable[..., CompletedProcess[str]]


def runtimes(*names: str) -> pytest.MarkDecorator:
    params = [
        pytest.param(name, marks=pytest.mark.kernel(*RUNTIMES[name].commands)) for name in names
    ]
    return pytest.mark.parametrize("runtime", params)


_CONFIGURED = ("runc", "crun", "podman", "containerd", "docker")
each_runtime = runtimes(*_CONFIGURED)
some_runtimes = runtimes(*some(_CONFIGURED, 3))
# The first ones make slaves of all mounts, whatever they are told.
some_with_slaves = runtimes(*some(("nspawn", "bwrap", "lxc", *_CONFIGURED), 4))

INNER = """
touch /volume/ready
read -r word </volume/gate
cat /proc/self/mountinfo >/volume/after; touch /volume/done
"""
# The host unmounts what the container was given with the folder around it; then the remedy is done.
HELD = """
mkfifo volume/gate; mkdir volume/data; mount -t tmpfs disk volume/data
$MNTTRACE record -o run.mnttrace -- sh -ec '
    sh -ec "$CONTAINER" >container.log 2>&1 &
    until [ -e volume/ready ]; do sleep .02; done
    umount volume/data'
$MNTTRACE leaks run.mnttrace >leaks
$MNTTRACE why run.mnttrace $PWD/volume/data >answer
sh -ec "$(grep -o '^    umount -N .*' answer)"
echo go >volume/gate
until [ -e volume/done ]; do sleep .02; done
cp volume/after after
"""
# The same, without a recording.
OTHERWISE = """
mkfifo volume/gate; mkdir volume/data; mount -t tmpfs disk volume/data
sh -ec "$CONTAINER" >container.log 2>&1 &
until [ -e volume/ready ]; do sleep .02; done
umount volume/data
echo go >volume/gate
until [ -e volume/done ]; do sleep .02; done
cp volume/after after
"""


@each_runtime
def test_a_container_holds_what_the_host_unmounted(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """moby#34672, moby#27381; with the host's root prometheus-operator#2578, node_exporter#602."""
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(INNER, propagation="rprivate"), HELD)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    recording = Recording(tmp_path / "run.mnttrace")
    leaks = recording.leaks
    held = leaks[(leaks["kind"] == "held") & (leaks["source"] == "disk")]
    assert set(held["direction"]) == {"host→container"}
    assert set(held["dst_name"]) == {"web"}
    assert set(held["mountpoint"]) == {"/volume/data"}
    answer = (tmp_path / "answer").read_text()
    assert "web (mnt:[" in answer
    assert "HELD: inherited when the namespace was made; the original is gone" in answer
    assert f"bound from {tmp_path}/volume/data by " in answer
    assert f"inherited from {tmp_path}/volume/data in host at the birth" in answer
    # The remedy freed it.
    assert "disk" not in (tmp_path / "after").read_text()
    # With what is told to do otherwise it does not come again: the test below.
    told = recording.why(f"{tmp_path}/volume/data").prevention
    assert told is not None
    assert told.kind in ("slaves", "slaves-throughout")
    assert not told.also


@some_with_slaves
def test_a_container_with_slaves_holds_nothing(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """What the test above is told to do otherwise."""
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(INNER, propagation="rslave"), OTHERWISE)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    assert "disk" not in (tmp_path / "after").read_text()


@some_with_slaves
def test_a_slave_that_mounted_on_it_holds_what_the_host_unmounted(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """The umount is sent to slaves, and stopped by what a container has mounted on its copy."""
    inner = "mkdir /volume/data/sub; mount -t tmpfs own /volume/data/sub" + INNER
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(inner, propagation="rslave"), HELD)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    recording = Recording(tmp_path / "run.mnttrace")
    [held] = recording.leaks[recording.leaks["source"] == "disk"].to_dict("records")
    name = "sh" if runtime == "bwrap" else "web"  # bubblewrap gives none
    assert (held["kind"], held["mountpoint"]) == ("held", "/volume/data")
    assert held["dst_name"].partition(" ")[0] == name
    assert held["orphaned_seq"] in recording.operations.query("comm == 'umount'")["seq"].to_list()
    answer = (tmp_path / "answer").read_text()
    assert "stopped by what is mounted on it: /volume/data/sub" in answer
    assert f"# it also takes tmpfs own at /volume/data/sub in {name}" in answer
    after = (tmp_path / "after").read_text()
    assert "disk" not in after
    assert "/volume/data/sub" not in after


# What a container with slaves mounts is asked for on the host.
MISSING = """
$MNTTRACE record -o run.mnttrace -- sh -ec "$CONTAINER" >container.log 2>&1
$MNTTRACE why run.mnttrace inside --in host >answer
"""


@some_with_slaves
def test_what_a_slave_mounts_is_told_as_missing_on_the_host(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """kubernetes#65926: HostToContainer, where Bidirectional was meant."""
    inner = "mkdir /volume/inner; mount -t tmpfs inside /volume/inner"
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(inner, propagation="rslave"), MISSING)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    [line] = [
        one for one in (tmp_path / "answer").read_text().splitlines() if one.startswith("not in")
    ]
    # One that lived for some milliseconds may be called by its process.
    assert line.startswith("not in host: /volume in ")
    assert "sends nothing up" in line


# A container takes what the host has mounted, and wants.
LOST = """
mkfifo volume/gate; mkdir volume/data; mount -t tmpfs disk volume/data
$MNTTRACE record -o run.mnttrace -- sh -ec '
    sh -ec "$CONTAINER" >container.log 2>&1 &
    until [ -e volume/ready ]; do sleep .02; done'
$MNTTRACE leaks run.mnttrace >leaks
grep " $PWD/volume/data " /proc/self/mountinfo >after || true
echo go >volume/gate
until [ -e volume/done ]; do sleep .02; done
"""


@some_runtimes
def test_what_a_container_took_from_the_host_is_told_as_lost(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    with own_cgroups() as cgroups:
        container = Container("umount /volume/data" + INNER, propagation="rshared")
        in_namespace(script(runtime, tmp_path, container, LOST), CGROUPS=cgroups, timeout=120)
    recording = Recording(tmp_path / "run.mnttrace")
    lost = recording.lost_mounts
    [row] = lost[(lost["name"] == "host") & (lost["source"] == "disk")].to_dict("records")
    assert row["mountpoint"] == f"{tmp_path}/volume/data"
    assert (row["via"], row["src_name"], row["copy_of_path"]) == ("peer", "web", "/volume/data")
    assert row["missing"]
    [umount] = recording.operations[recording.operations["seq"] == row["seq"]].to_dict("records")
    assert (umount["comm"], umount["path"]) == ("umount", "/volume/data")
    # As the test below shows, slaves take nothing.
    printed = (tmp_path / "leaks").read_text()
    assert "rslave" in printed.partition("lost: tmpfs")[2]


@some_with_slaves
def test_a_container_with_slaves_takes_nothing_from_the_host(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """What the test above is told to do otherwise."""
    with own_cgroups() as cgroups:
        container = Container("umount /volume/data" + INNER, propagation="rslave")
        in_namespace(script(runtime, tmp_path, container, LOST), CGROUPS=cgroups, timeout=120)
    assert Recording(tmp_path / "run.mnttrace").lost_mounts.empty
    assert "disk" in (tmp_path / "after").read_text()


# The container mounts below its volume, and ends.
RESIDUE = """
$MNTTRACE record -o run.mnttrace -- sh -ec "$CONTAINER" >container.log 2>&1
grep " $PWD/volume/inner " /proc/self/mountinfo
$MNTTRACE why run.mnttrace $PWD/volume/inner >answer
sh -ec "$(grep -o '^    umount .*' answer)"
! grep " $PWD/volume/inner " /proc/self/mountinfo || exit 1
"""


@each_runtime
def test_what_a_container_mounted_outlives_it(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """kubernetes#115054: as a pod with Bidirectional mount propagation leaves it."""
    inner = "mkdir /volume/inner; mount -t tmpfs inside /volume/inner"
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(inner, propagation="rshared"), RESIDUE)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    recording = Recording(tmp_path / "run.mnttrace")
    leaks = recording.leaks
    [row] = leaks[(leaks["source"] == "inside") & (leaks["present"] > 0)].to_dict("records")
    assert (row["kind"], row["direction"]) == ("residue", "container→host")
    assert row["src_name"] == "web"
    answer = (tmp_path / "answer").read_text()
    assert "RESIDUE: propagated there; the original is gone" in answer
    assert "propagated from /volume/inner in web through" in answer
    told = recording.why(f"{tmp_path}/volume/inner").prevention
    assert told is not None
    assert told.kind in ("slaves", "not-shared", "carrier-slave")


@some_with_slaves
def test_what_a_container_with_slaves_mounted_goes_with_it(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    """What the test above is told to do otherwise."""
    inner = "mkdir /volume/inner; mount -t tmpfs inside /volume/inner"
    body = """sh -ec "$CONTAINER"; ! grep " $PWD/volume/inner " /proc/self/mountinfo || exit 1"""
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(inner, propagation="rslave"), body)
        in_namespace(text, CGROUPS=cgroups, timeout=120)


# Nothing is wrong yet: the host has its mount still.
SOUND = HELD.replace("umount volume/data", "true").replace(
    """sh -ec "$(grep -o '^    umount -N .*' answer)"\n""",
    "$MNTTRACE why run.mnttrace web >web\n$MNTTRACE why run.mnttrace $PWD/bundle/rootfs >root\n",
)


@pytest.mark.kernel(*RUNTIMES["runc"].commands)
def test_nothing_is_to_be_done_about_a_sound_container(in_namespace: Run, tmp_path: Path) -> None:
    """What would be held is told, and nobody is told to unmount a container's root."""
    with own_cgroups() as cgroups:
        text = script("runc", tmp_path, Container(INNER, propagation="rprivate"), SOUND)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    answer = (tmp_path / "answer").read_text()
    assert "a umount on the host does not propagate to it" in answer
    assert "A umount on the host does not propagate to all of these." in answer
    assert "nothing: no mount was propagated to it or from it" in (tmp_path / "web").read_text()
    for name in ("answer", "web", "root"):
        assert "What to do now" not in (tmp_path / name).read_text()
