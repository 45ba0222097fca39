# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What others reported and looked for by hand, as small as it can be made with the real tools.

Each ends in its kind, its cause, and a remedy that is carried out. See test_problems.py for what
was reported of all runtimes alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.recording import Recording
from tests import CHECKOUT
from tests.runtimes.runtimes import RUNTIMES, Container, own_cgroups, script

Run = Callable[..., CompletedProcess[str]]
runc = pytest.mark.kernel(*RUNTIMES["runc"].commands)


# ---- moby#33846, runc#1500: a race with a container that starts

RACE = """
mkdir disk; mount -t tmpfs disk disk
$MNTTRACE record -o run.mnttrace -- sh -ec "$CONTAINER" >container.log 2>&1
$MNTTRACE leaks run.mnttrace >leaks
"""


@runc
@pytest.mark.parametrize("propagation", ["rprivate", "rslave"])
def test_a_container_that_starts_holds_a_device_until_its_old_root_is_gone(
    propagation: str, in_namespace: Run, tmp_path: Path
) -> None:
    """runc made its old root private before it unmounted it; since then it makes it a slave.

    The hook runs on the host between the two, so the race is won each time.
    """
    container = Container("true", hook=f"umount {tmp_path}/disk", root_propagation=propagation)
    with own_cgroups() as cgroups:
        in_namespace(script("runc", tmp_path, container, RACE), CGROUPS=cgroups, timeout=120)
    run = Recording(tmp_path / "run.mnttrace")
    operations = run.operations[run.operations["error"] == ""]
    [umount] = rows(operations[operations["path"] == f"{tmp_path}/disk"])
    races = run.leaks[(run.leaks["source"] == "disk") & (run.leaks["kind"] == "race")]
    if propagation == "rslave":
        assert races.empty
        assert set(run.effects.loc[run.effects["seq"] == umount["seq"], "via"]) >= {"slave"}
        return
    [race] = rows(races)
    [freed] = rows(operations[operations["seq"] == race["freed_seq"]])
    assert race["dst_name"] == "web"
    assert race["orphaned_seq"] == umount["seq"]
    assert (freed["syscall"], freed["flags"]) == ("umount2", "MNT_DETACH")
    assert freed["comm"].startswith("runc:[2:INIT]")
    window = (freed["ts"] - umount["ts"]).total_seconds() * 1e3
    assert 0 < window < 10_000
    assert f"busy {window:,.3f} ms longer" in (tmp_path / "leaks").read_text()


# ---- moby#22260, systemd#3604: a service with a namespace of its own

SERVICE = """
for cgroup in $CGROUPS; do
  mkdir -p $cgroup/system.slice/clock.service
done
mkdir data; mount -t tmpfs disk data
$MNTTRACE record -o run.mnttrace -- sh -ec '
    sh -ec "
        for cgroup in $CGROUPS; do
            echo \\$\\$ >\\$cgroup/system.slice/clock.service/cgroup.procs || true
        done
        exec unshare -m --propagation PROPAGATION sh -ec \\"echo >ready; exec sleep 1000\\"" &
    until [ -s ready ]; do sleep .02; done
    umount data'
$MNTTRACE leaks run.mnttrace >leaks
$MNTTRACE why run.mnttrace $PWD/data >answer
"""


@pytest.mark.parametrize("propagation", ["private", "slave"])
def test_a_service_with_private_mounts_holds_what_the_host_unmounts(
    propagation: str, in_namespace: Run, tmp_path: Path
) -> None:
    with own_cgroups() as cgroups:
        script = SERVICE.replace("PROPAGATION", propagation)
        remedy = """sh -ec "$(grep -o 'umount -N .*' answer)"; ! grep disk /proc/[0-9]*/mountinfo"""
        in_namespace(script + (remedy if propagation == "private" else ""), CGROUPS=cgroups)
    leaks = Recording(tmp_path / "run.mnttrace").leaks
    held = leaks[(leaks["source"] == "disk") & (leaks["kind"] == "held")]
    if propagation == "slave":
        assert held.empty
        return
    assert set(held["dst_name"]) == {"clock.service"}
    answer = (tmp_path / "answer").read_text()
    assert "clock.service (mnt:[" in answer
    assert "HELD: inherited when the namespace was made" in answer
    assert "  # or: systemctl restart clock.service" in answer
    assert "MountFlags=slave" in answer


# ---- runc#2404, crun PR#4417: the root file system is on a mount that stays shared

ESCAPE = """
mount --make-shared bundle
$MNTTRACE record -o run.mnttrace -- unshare -m --propagation unchanged sh -ec '
    PREPARE
    cd bundle/rootfs; mkdir -p old
    mount -t proc inside proc
    mount --bind . .
    cd ../rootfs
    pivot_root . old || echo refused >../../refused'
$MNTTRACE leaks run.mnttrace >leaks
"""


@pytest.mark.kernel("busybox")
@pytest.mark.parametrize("prepare", ["true", "mount --make-rslave /"])
def test_a_containers_own_mounts_escape_through_a_parent_that_is_shared(
    prepare: str, in_namespace: Run, tmp_path: Path
) -> None:
    """What runc did where it had taken another mount for the parent of its root file system."""
    with own_cgroups() as cgroups:
        body = ESCAPE.replace("PREPARE", prepare)
        text = script("bwrap", tmp_path, Container("true"), body)
        in_namespace(text, CGROUPS=cgroups)
    run = Recording(tmp_path / "run.mnttrace")
    came = run.leaks[run.leaks["source"] == "inside"]
    if prepare != "true":
        assert came.empty
        assert not (tmp_path / "refused").exists()
        return
    [row] = rows(came)
    assert row["direction"] == "other→host"
    assert row["mountpoint"] == f"{tmp_path}/bundle/rootfs/proc"
    assert row["via_path"] == f"{tmp_path}/bundle"
    # And pivot_root is refused for the same reason.
    assert (tmp_path / "refused").exists()
    [refused] = rows(run.refusals[run.refusals["syscall"] == "pivot_root"])
    assert refused["reason"].endswith(" is shared")
    assert refused["in_the_way"].startswith(f"{tmp_path}/bundle")


# ---- Kubernetes

ID = "3f" * 32
NOTES = {
    "io.kubernetes.cri.container-name": "plugin",
    "io.kubernetes.cri.sandbox-name": "csi-node-x7",
    "io.kubernetes.cri.sandbox-namespace": "kube-system",
}
NAME = "kube-system/csi-node-x7/plugin"
# Where containerd's CRI plugin has the bundles of its containers.
AS_CRI = f"""
tasks=/run/containerd/io.containerd.runtime.v2.task/k8s.io
mkdir -p $tasks; ln -s $PWD/bundle $tasks/{ID}
"""

# ---- kubernetes#115054, PR#137143: a pod hangs in Terminating

POD = "var/lib/kubelet/pods/6c0a7a1e-7a1c-4a3e-9df1-0123456789ab/volumes/empty-dir/shared"
TERMINATING = f"""{AS_CRI}
mkdir -p {POD}; mount -t tmpfs empty-dir {POD}; mount --make-shared {POD}
mount --bind {POD} volume; mount --make-shared volume
$MNTTRACE record -o run.mnttrace -- sh -ec '
    sh -ec "$CONTAINER" >container.log 2>&1
    umount volume || true
    umount {POD} || true
    ' 2>kubelet.log
$MNTTRACE leaks run.mnttrace >leaks
$MNTTRACE why run.mnttrace $PWD/{POD}/data >answer
sh -ec "$(grep -o '^    umount .*' answer)"
umount {POD}
"""


@runc
def test_a_pod_hangs_as_a_bind_went_back_through_its_empty_dir(
    in_namespace: Run, tmp_path: Path
) -> None:
    inner = "mkdir /volume/data; mount --bind /tmp /volume/data"
    container = Container(inner, propagation="rshared", annotations=NOTES, name=ID)
    with own_cgroups() as cgroups:
        text = script("runc", tmp_path, container, TERMINATING)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    run = Recording(tmp_path / "run.mnttrace")
    came = run.leaks[run.leaks["mountpoint"] == f"{tmp_path}/{POD}/data"]
    [row] = rows(came)
    assert (row["kind"], row["direction"]) == ("residue", "container→host")
    assert row["src_name"] == NAME
    answer = (tmp_path / "answer").read_text()
    assert f"propagated from /volume/data in {NAME} through" in answer
    assert "mountPropagation: HostToContainer" in answer.partition("To keep it from")[2]
    # Why the kubelet cannot unmount the volume.
    [refused] = rows(run.refusals[run.refusals["path"] == f"{tmp_path}/{POD}"])
    assert refused["error"] == "EBUSY"
    assert refused["reason"] == "there are mounts on it"
    assert refused["in_the_way"] == f"{tmp_path}/{POD}/data in host"
    assert refused["since_seq"] == row["seq"]


# ---- alibaba-cloud-csi-driver#267: a sidecar has the kubelet's folder, with propagation None

SIDECAR = f"""{AS_CRI}
mkdir -p volume/pods/web/volumes; mount -t tmpfs pod-volume volume/pods/web/volumes
mkfifo volume/gate
$MNTTRACE record -o run.mnttrace -- sh -ec '
    sh -ec "$CONTAINER" >container.log 2>&1 & container=$!
    until [ -e volume/ready ]; do kill -0 $container; sleep .02; done
    umount volume/pods/web/volumes'
$MNTTRACE leaks run.mnttrace >leaks
$MNTTRACE why run.mnttrace {NAME} >answer
$MNTTRACE why run.mnttrace $PWD/volume/pods/web/volumes >volumes
sh -ec "$(grep -o 'umount -N .*' volumes)"
! grep -q pod-volume /proc/[0-9]*/mountinfo || exit 1
echo go >volume/gate
"""


@runc
def test_a_sidecar_keeps_the_volumes_of_all_pods(in_namespace: Run, tmp_path: Path) -> None:
    inner = "touch /volume/ready; read -r word </volume/gate"
    container = Container(inner, propagation="rprivate", annotations=NOTES, name=ID)
    with own_cgroups() as cgroups:
        text = script("runc", tmp_path, container, SIDECAR)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    run = Recording(tmp_path / "run.mnttrace")
    leaks = run.leaks[run.leaks["source"] == "pod-volume"]
    assert set(leaks["dst_name"]) == {NAME}
    assert set(leaks["kind"]) == {"held"}
    answer = (tmp_path / "answer").read_text()
    assert f"{NAME}: what it has from others" in answer
    assert "/volume/pods/web/volumes as mount" in answer
    assert "mountPropagation: HostToContainer" in (tmp_path / "volumes").read_text()


# ---- crun PR#2060, PR#2219: the new mount API

CLONES = """
import os, sys
AT_RECURSIVE, OPEN_TREE_CLONE, MOVE_EMPTY = 0x8000, 1, 4
tree = call("open_tree", AT_FDCWD, "volume", OPEN_TREE_CLONE)
call("unshare", 0x20000)
call("mount", b"", b"/", 0, 0x44000, 0)  # MS_REC|MS_PRIVATE: the detached copy is not below "/"
assert call("move_mount", tree, "", AT_FDCWD, "inside", MOVE_EMPTY) == 0
if PRIVATE:
    assert call("mount_setattr", AT_FDCWD, "inside", 0, mount_attr(0, 0, 0x40000), 32) == 0
call("mount", b"new", b"inside/x", b"tmpfs", 0, 0)
call("mount", b"pts", b"dev/pts", b"tmpfs", 0, 0)
cover = call("open_tree", AT_FDCWD, "dev", OPEN_TREE_CLONE)  # not recursive
call("move_mount", cover, "", AT_FDCWD, "dev", MOVE_EMPTY)
"""
CALLS = CHECKOUT / "tests/kernel/calls.py"


@pytest.mark.parametrize("private", [False, True])
def test_a_detached_copy_stays_in_its_peer_group(
    private: bool, in_namespace: Run, tmp_path: Path
) -> None:
    in_namespace(
        f"""
        mkdir volume inside dev; mount -t tmpfs volume volume; mkdir volume/x
        mount -t tmpfs dev dev; mkdir dev/pts
        cat >code <<'EOF'\nPRIVATE = {private}\n{CLONES}\nEOF
        $MNTTRACE record -o run.mnttrace -- python3 {CALLS} <code
        $MNTTRACE timeline run.mnttrace >timeline
        """
    )
    run = Recording(tmp_path / "run.mnttrace")
    came = run.leaks[run.leaks["source"] == "new"]
    if private:
        assert came.empty
        return
    [row] = rows(came)
    assert row["direction"] == "other→host"
    assert (row["via_path"], row["mountpoint"]) == (
        f"{tmp_path}/inside",
        f"{tmp_path}/volume/x",
    )
    # What made it shared is the move of the copy, which open_tree had made a peer.
    operations = run.operations.set_index("seq")
    assert operations.loc[row["via_seq"], "syscall"] == "move_mount"
