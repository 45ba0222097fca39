# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a real Kubernetes pod leaves, and holds: its kind, its cause, and remedies that help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.recording import Recording
from tests.runtimes.pods import COMMANDS, pod
from tests.runtimes.runtimes import Container, own_cgroups, script

Run = Callable[..., CompletedProcess[str]]
pytestmark = pytest.mark.kernel(*COMMANDS)

NAME = "shop/web-0/app"
# A pod whose container has said that it is ready; and its end, as `kubectl delete pod` makes it.
STARTED = """
    sh -ec "$CONTAINER" >kubelet.log 2>&1 & echo $! >kubelet
    until [ -e volume/ready ]; do
        kill -0 $(cat kubelet) || { cat kubelet.log; exit 1; }
        sleep .02
    done
"""
REMOVED = """
    kill $(cat kubelet); wait $(cat kubelet) || { cat kubelet.log; exit 1; }
"""


def in_pod(in_namespace: Run, folder: Path, container: Container, body: str) -> None:
    with own_cgroups() as cgroups:
        in_namespace(script(pod, folder, container, body), CGROUPS=cgroups, timeout=120)


# ---- Bidirectional: what the container mounts comes to the host, and stays there

MOUNTS = "mkdir /volume/in; mount -t tmpfs pod-inner /volume/in; touch /volume/ready; sleep 1000"
RESIDUE = f"""
$MNTTRACE record -o run.mnttrace -- sh -ec '{STARTED}{REMOVED}'
cat /proc/self/mountinfo >before
$MNTTRACE why run.mnttrace $PWD/volume/in >answer
sh -ec "$(grep -o '^    umount .*' answer)"
cat /proc/self/mountinfo >after
"""


def test_what_a_pod_mounted_outlives_it(in_namespace: Run, tmp_path: Path) -> None:
    in_pod(in_namespace, tmp_path, Container(MOUNTS, propagation="rshared"), RESIDUE)
    run = Recording(tmp_path / "run.mnttrace")
    [row] = rows(run.leaks[run.leaks["source"] == "pod-inner"])
    assert (row["kind"], row["direction"]) == ("residue", "container→host")
    assert (row["src_name"], row["via_path"]) == (NAME, "/volume")
    assert row["mountpoint"] == f"{tmp_path}/volume/in"
    answer = run.why(f"{tmp_path}/volume/in")
    assert [holder.kind for holder in answer.holders if holder.gone is None] == ["residue"]
    # The remedy took it away.
    assert "pod-inner" in (tmp_path / "before").read_text()
    assert "pod-inner" not in (tmp_path / "after").read_text()
    # With what is told to do otherwise it does not come again: the test below.
    assert answer.prevention is not None
    assert answer.prevention.kind in ("slaves", "not-shared", "carrier-slave")
    assert not answer.prevention.also
    assert "HostToContainer" in (tmp_path / "answer").read_text()


def test_what_a_pod_mounted_goes_with_it_with_host_to_container(
    in_namespace: Run, tmp_path: Path
) -> None:
    """What the test above is told to do otherwise."""
    body = f"{STARTED}{REMOVED}cat /proc/self/mountinfo >after"
    in_pod(in_namespace, tmp_path, Container(MOUNTS, propagation="rslave"), body)
    assert "pod-inner" not in (tmp_path / "after").read_text()


# ---- None: the container holds what the host unmounts

# Shows its mounts when it is told to.
WAITS = """
touch /volume/ready; read -r word </volume/gate
cat /proc/self/mountinfo >/volume/after; touch /volume/done
sleep 1000
"""
DISK = "mkfifo volume/gate; mkdir volume/data; mount -t tmpfs pod-disk volume/data"
SHOWN = """
echo go >volume/gate; until [ -e volume/done ]; do sleep .02; done
cp volume/after after
"""
# The pod outlives the recording, whose shell is not there to wait for it.
HELD = f"""
{DISK}
$MNTTRACE record -o run.mnttrace -- sh -ec '{STARTED}umount volume/data'
$MNTTRACE why run.mnttrace $PWD/volume/data >answer
sh -ec "$(grep -o 'umount -N .*' answer)"
{SHOWN}
kill $(cat kubelet); while kill -0 $(cat kubelet) 2>/dev/null; do sleep .02; done
"""


def test_a_pod_holds_what_the_host_unmounted(in_namespace: Run, tmp_path: Path) -> None:
    in_pod(in_namespace, tmp_path, Container(WAITS), HELD)
    run = Recording(tmp_path / "run.mnttrace")
    [row] = rows(run.leaks[run.leaks["source"] == "pod-disk"])
    assert (row["kind"], row["direction"]) == ("held", "host→container")
    assert (row["dst_name"], row["mountpoint"]) == (NAME, "/volume/data")
    # The remedy freed it.
    assert "pod-disk" not in (tmp_path / "after").read_text()
    # With what is told to do otherwise it does not come again: the test below.
    told = run.why(f"{tmp_path}/volume/data").prevention
    assert told is not None
    assert told.kind in ("slaves", "slaves-throughout")
    assert not told.also


def test_a_pod_with_host_to_container_holds_nothing(in_namespace: Run, tmp_path: Path) -> None:
    """What the test above is told to do otherwise."""
    body = f"{DISK}{STARTED}umount volume/data{SHOWN}{REMOVED}"
    in_pod(in_namespace, tmp_path, Container(WAITS, propagation="rslave"), body)
    assert "pod-disk" not in (tmp_path / "after").read_text()
