# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Whose a mount namespace is, what is known of a process, and who uses a mount: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a mount namespace belongs to. Text is as others wrote it; what is not known is "".

    Attributes:
        kind: "container"; "unit", a systemd service; "process"; or "host", the namespace of pid 1.
        name: what to call it: the container's or the unit's name, NAMESPACE/POD/CONTAINER in
            Kubernetes, else "COMM[PID]", or "host".
        id: the container's, all of it.
        runtime: the container's, by the name that its user knows: "docker", "podman", "cri-o",
            "containerd", "lxc", "systemd-nspawn", "bubblewrap"; "runc" or "crun" where nothing
            stands above it; "kubernetes" where no more is known.
        image: the container's, as the user named it.
        pod, pod_namespace, pod_container, pod_uid: its names in Kubernetes; `pod_container` is ""
            for the one that holds a pod's namespaces.
        unit: the systemd unit that the process is in, whatever `kind` is.
        comm, pid, command: the process that was asked about.
    """

    kind: str
    name: str
    id: str = ""
    runtime: str = ""
    image: str = ""
    pod: str = ""
    pod_namespace: str = ""
    pod_container: str = ""
    pod_uid: str = ""
    unit: str = ""
    comm: str = ""
    pid: int = 0
    command: tuple[str, ...] = ()


class User(NamedTuple):
    """One use of a mount.

    Attributes:
        mount: its id, as it was asked for.
        pid: the process.
        comm: its name.
        how: "cwd", "root", "exe", "map" or "fd N".
        path: what it uses, as the kernel has it: from the root of the process on, if it can.
    """

    mount: int
    pid: int
    comm: str
    how: str
    path: str


@dataclass(frozen=True, slots=True)
class ProcessHints:
    """What was seen of a process that may be gone by now; what was not seen stays out.

    Attributes:
        comm, command: its name and its command line.
        cgroup: the text of its /proc/PID/cgroup, or a path of that.
        parent: the pid of its parent.
        ns: its mount namespace, inode number. If the process with this pid is in another one, it
            is another process or has moved on, and only what was seen is used.
    """

    comm: str = ""
    cgroup: str = ""
    parent: int = 0
    command: tuple[str, ...] = ()
    ns: int = 0
