# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A machine made of files: what tests of identity have in place of /proc, /run and /var/lib."""

import json
import os
from pathlib import Path
from typing import Any

from mnttrace.capture.identity.identify import Identities
from mnttrace.capture.join.identity import Identity, ProcessHints

ID = "391f9ff6968d0b31e5bd75309a26bd3714cdd518886c954a1f0e43c3ce98a04d"
OTHER = "33d71442ba395a714bdfbd1ceda2b87465e0f606f88d582ebb4d9d2dfd5fcb70"
UID = "2c48913c-b29f-11e7-9350-020968147796"
HOST, INNER, OUTER = 4026531832, 4026532180, 4026532177
TASKS = "run/containerd/io.containerd.runtime.v2.task"
STORAGE = "var/lib/containers/storage/overlay-containers"
PODS = "/kubepods.slice/kubepods-burstable.slice"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
SHIM = "/usr/bin/containerd-shim-runc-v2"


class Machine:
    """A proc folder and a root directory, with pid 1 in the namespace HOST."""

    def __init__(self, place: Path) -> None:
        self.proc, self.root = place / "proc", place / "root"
        self.root.mkdir(parents=True)
        self.process(1, ns=HOST, comm="systemd", cgroup="0::/init.scope\n", parent=0)
        self.process("self", ns=HOST)
        self.identities = Identities(str(self.proc), str(self.root))

    def process(
        self,
        pid: int | str,
        *command: str,
        ns: int = INNER,
        comm: str = "sleep",
        cgroup: str = "0::/\n",
        parent: int = 1,
        start: int = 100,
        user: int = 4026531837,
    ) -> None:
        folder = self.proc / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/mnt").symlink_to(f"mnt:[{ns}]")
        (folder / "ns/user").symlink_to(f"user:[{user}]")
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "cgroup").write_text(cgroup)
        (folder / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in command))
        fields = f"S {parent} 0 0 0 -1 4194560 119 0 0 0 0 0 0 0 20 0 1 0 {start} 2322432 332"
        (folder / "stat").write_text(f"{pid} ({comm}) {fields}\n")

    def file(self, path: str, content: Any) -> Path:
        """A file under the root directory: text and bytes as they are, all else as JSON."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            place.write_text(content if isinstance(content, str) else json.dumps(content))
        return place

    def of(self, pid: int = 7, **seen: Any) -> Identity:
        return self.identities.of(pid, ProcessHints(**seen))


def fields(identity: Identity, *names: str) -> tuple[str, ...]:
    return tuple(getattr(identity, name) for name in names)


def hybrid(path: str) -> str:
    names = "name=systemd pids blkio freezer devices memory cpuset cpuacct cpu".split()  # noqa: SIM905
    lines = [f"{9 - at}:{name}:{path}" for at, name in enumerate(names)]
    return "\n".join([*lines, "0::/"]) + "\n"


def runc_state(pid: int = 70, start: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "id": "ignored",
        "init_process_pid": pid,
        "init_process_start": start,
        "config": {"labels": ["bundle=/nowhere/bundle"]},
        "cgroup_paths": {"": "/sys/fs/cgroup/demo", "pids": "/sys/fs/cgroup/pids/demo"},
        "namespace_paths": {"NEWNS": f"/proc/{pid}/ns/mnt"},
    } | more


def crun_status(pid: int = 70, start: int = 100) -> dict[str, Any]:
    return {"pid": pid, "process-start-time": start, "cgroup-path": "/demo", "bundle": "/nowhere"}
