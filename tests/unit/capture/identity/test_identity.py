# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Who a mount namespace belongs to: whom to believe, and what is left of a process that is gone."""

import os
from typing import Any

import pytest

from mnttrace.capture.identity.identify import Identities
from mnttrace.capture.join.identity import Identity, ProcessHints
from tests.unit.capture.identity.machine import (
    HOST,
    ID,
    INNER,
    OTHER,
    OUTER,
    SHIM,
    TASKS,
    UID,
    Machine,
    crun_status,
    fields,
    runc_state,
)

# ---- the host


def test_the_namespace_of_pid_1_is_the_host_whatever_the_cgroup_says(machine: Machine) -> None:
    machine.process(7, ns=HOST, cgroup=f"0::/docker/{ID}\n")
    assert fields(machine.of(), "kind", "name", "comm", "id") == ("host", "host", "sleep", "")


def test_where_pid_1_may_not_be_looked_at_a_kernel_thread_tells(machine: Machine) -> None:
    (machine.proc / "1/ns/mnt").unlink()
    machine.process(7, ns=HOST)
    assert machine.of().kind == "process"
    machine.process(2, ns=HOST, comm="kthreadd", parent=0)
    assert machine.of().kind == "host"


def test_pid_2_of_a_container_is_not_taken_for_a_kernel_thread(machine: Machine) -> None:
    (machine.proc / "1/ns/mnt").unlink()
    machine.process(2, ns=INNER, comm="sh")
    machine.process(7)
    assert machine.of().kind == "process"


# ---- records of running containers


@pytest.mark.parametrize(
    ("path", "content", "runtime", "id"),
    [
        ("run/runc/demo/state.json", runc_state(), "runc", "demo"),
        ("run/crun/demo/status", crun_status(), "crun", "demo"),
        ("run/crun/demo/status", crun_status(start=0), "crun", "demo"),  # older than 1.0
        (f"run/docker/runtime-runc/moby/{ID}/state.json", runc_state(), "docker", ID),
        (f"run/containerd/runc/k8s.io/{ID}/state.json", runc_state(), "containerd", ID),
        (f"run/runc/{ID}/state.json", runc_state(), "podman", ID),
    ],
)
def test_a_record_with_the_same_namespace_names_the_container(
    machine: Machine, path: str, content: dict[str, Any], runtime: str, id: str
) -> None:
    machine.process(70)
    machine.process(7, parent=70)
    bundles = {
        "docker": f"{TASKS}/moby/{ID}",
        "containerd": f"{TASKS}/k8s.io/{ID}",
        "podman": f"home/me/storage/overlay-containers/{ID}/userdata",
    }
    if runtime in bundles:
        notes = {"annotations": {"io.container.manager": "libpod"}} if runtime == "podman" else {}
        bundle = machine.file(f"{bundles[runtime]}/config.json", notes).parent
        content = content | {"config": {"labels": ["some=/thing", f"bundle={bundle}"]}}
    machine.file(path, content)
    for pid in (7, 70):
        assert fields(machine.of(pid), "kind", "runtime", "id") == ("container", runtime, id)


def test_a_record_with_the_same_cgroup_names_the_container(machine: Machine) -> None:
    machine.process(70)
    machine.process(7, ns=OUTER, parent=70, cgroup="0::/demo\n3:pids:/other/demo\n")
    machine.file("run/runc/demo/state.json", runc_state())
    machine.file("run/crun/root/status", crun_status() | {"cgroup-path": "/"})
    machine.file("run/user/1000/crun/bad/status", crun_status() | {"cgroup-path": "/mine"})
    assert fields(machine.of(7), "runtime", "id") == ("runc", "demo")
    for pid, path in enumerate(("/mo", "/", "", "/mine"), 10):
        machine.process(pid, ns=OUTER, cgroup=f"0::{path}\n")
        assert machine.of(pid).kind == "process"


def test_a_record_of_a_process_that_is_gone_does_not_count(machine: Machine) -> None:
    machine.process(70, start=101)  # the pid is used again
    machine.file("run/runc/demo/state.json", runc_state())
    machine.file("run/crun/gone/status", crun_status(pid=71))
    assert machine.of(70).kind == "process"


def test_a_record_counts_as_soon_as_it_is_written_and_no_longer_than_it_is_there(
    machine: Machine,
) -> None:
    machine.process(70)
    assert machine.of(70).kind == "process"
    place = machine.file("run/runc/demo/state.json", runc_state(pid=99999))
    assert machine.of(70).kind == "process"
    place.unlink()
    machine.file("run/runc/demo/state.json", runc_state())
    assert machine.of(70).name == "demo"
    place.unlink()
    assert machine.of(70).kind == "process"


def test_a_user_cannot_claim_what_runs_as_the_host_does(machine: Machine) -> None:
    machine.process(70)
    machine.process(71, ns=OUTER, user=4026532190)
    machine.file("run/user/1000/runc/mine/state.json", runc_state(70))
    machine.file("run/user/1000/crun/own/status", crun_status(71))
    assert machine.of(70).kind == "process"
    assert fields(machine.of(71), "kind", "runtime", "name") == ("container", "crun", "own")


def test_a_machine_that_is_registered_with_systemd(machine: Machine) -> None:
    machine.process(70, cgroup="0::/user.slice/user-0.slice/session-1.scope/payload\n")
    machine.process(71, ns=OUTER)
    said = "# This is private data. Do not parse.\nNAME=web\nSERVICE=systemd-nspawn\n"
    machine.file("run/systemd/machines/web", said + "LEADER=70\nCLASS=container\n")
    machine.file("run/systemd/machines/vm", said + "LEADER=71\nCLASS=vm\n")
    assert fields(machine.of(70), "kind", "runtime", "name") == (
        "container",
        "systemd-nspawn",
        "web",
    )
    assert machine.of(71).kind == "process"


# ---- ancestors


def test_a_child_that_has_not_yet_called_exec_bears_the_command_line(machine: Machine) -> None:
    command = ("bwrap", "--dev", "/dev", "sh")
    machine.process(6, *command, ns=OUTER, comm="bwrap")
    machine.process(7, *command, parent=6, comm="bwrap")
    machine.process(8, *command, parent=99, comm="bwrap")
    for pid in (7, 8):
        assert fields(machine.of(pid), "runtime", "name") == ("bubblewrap", "sh")
    assert machine.of(6).kind == "process"
    (machine.proc / "1/ns/mnt").unlink()  # as where pid 1 may not be looked at
    assert machine.of(6).kind == "process"


def test_a_parent_counts_where_no_namespace_may_be_looked_at(machine: Machine) -> None:
    machine.process(6, "runc", "run", "demo", ns=OUTER)
    machine.process(7, parent=6)
    for pid in (6, 7):
        (machine.proc / f"{pid}/ns/mnt").unlink()
    assert machine.of().name == "demo"


def test_ancestors_that_go_round_in_a_circle_come_to_an_end(machine: Machine) -> None:
    machine.process(6, parent=7, ns=OUTER)
    machine.process(7, parent=6)
    assert machine.of().kind == "process"


def test_what_makes_a_container_may_still_be_in_the_cgroup_of_another(machine: Machine) -> None:
    outer = f"0::/docker/{OTHER}\n"
    machine.process(6, "runc", "create", "demo", ns=OUTER, cgroup=outer)
    machine.process(7, "runc", "init", parent=6, comm="runc:[1:CHILD]", cgroup=outer)
    assert fields(machine.of(), "runtime", "id") == ("runc", "demo")
    machine.process(8, "runc", "init", parent=99, comm="runc:[2:INIT]", cgroup=f"0::/docker/{ID}\n")
    assert fields(machine.of(8), "runtime", "id") == ("docker", ID)


def test_a_pods_shim_has_the_id_of_the_pods_own_container_alone(machine: Machine) -> None:
    # `runc create`, which has the other's id, is gone; `runc start` is still to come.
    machine.process(50, SHIM, "-namespace", "k8s.io", "-id", ID, ns=HOST)
    cgroup = f"0::/kubepods/pod{UID}/{OTHER}\n"
    machine.process(7, "runc", "init", comm="runc:[2:INIT]", parent=50, cgroup=cgroup)
    pod = {"io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop"}
    app = pod | {"io.kubernetes.cri.container-name": "app"}
    machine.file(f"{TASKS}/k8s.io/{ID}/config.json", {"annotations": pod})
    machine.file(f"{TASKS}/k8s.io/{OTHER}/config.json", {"annotations": app})
    assert fields(machine.of(), "id", "name") == (OTHER, "shop/web-0/app")
    # In the cgroup of a container that is not of this containerd the shim's word counts.
    cgroup = f"0::/kubepods/pod{UID}/{'0' * 64}\n"
    machine.process(8, "runc", "init", comm="runc:[2:INIT]", parent=50, cgroup=cgroup)
    assert fields(machine.of(8), "id", "name") == (ID, "shop/web-0")


# ---- what a tracer saw


def test_a_process_that_is_gone_is_told_by_what_was_seen_of_it(machine: Machine) -> None:
    seen = ProcessHints(comm="sh", cgroup=f"/docker/{ID}", command=("sh", "-c", "x"), ns=INNER)
    who = machine.identities.of(7, seen)
    assert fields(who, "kind", "runtime", "id", "comm", "command") == (
        "container",
        "docker",
        ID,
        "sh",
        ("sh", "-c", "x"),
    )
    assert machine.of(7) == Identity("process", "?[7]", pid=7)


def test_the_namespace_of_a_process_that_is_gone_is_found_in_a_record(machine: Machine) -> None:
    machine.process(70)
    machine.file("run/runc/demo/state.json", runc_state())
    assert machine.of(7, ns=INNER).name == "demo"
    assert machine.of(7, ns=HOST).kind == "host"


def test_the_parent_of_a_process_that_is_gone_is_asked(machine: Machine) -> None:
    machine.process(6, "runc", "create", "demo", ns=OUTER)
    assert machine.of(7, comm="runc:[1:CHILD]", parent=6).name == "demo"
    assert machine.of(7, comm="runc:[1:CHILD]", parent=6, ns=INNER).name == "demo"
    assert machine.of(7, comm="runc", parent=6, ns=OUTER).kind == "process"


def test_a_sandbox_that_is_gone_with_all_its_processes(machine: Machine) -> None:
    command = ("bwrap", "--dev", "/dev", "sh")
    assert machine.of(7, comm="bwrap", command=command, parent=6, ns=INNER).name == "sh"


def test_another_process_with_the_same_pid_is_not_taken_for_the_one_that_was_seen(
    machine: Machine,
) -> None:
    machine.process(7, comm="other", ns=OUTER, cgroup=f"0::/docker/{ID}\n")
    assert fields(machine.of(7, comm="sh", ns=INNER), "kind", "name") == ("process", "sh[7]")
    assert machine.of(7, comm="sh", ns=OUTER).comm == "other"


# ---- this machine


def test_no_process_of_this_machine_raises_and_no_descriptor_stays_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    identities = Identities()
    for name in [*filter(str.isdigit, os.listdir("/proc")), "999999999"]:
        who = identities.of(int(name))
        assert who.name
    assert sorted(os.listdir("/proc/self/fd")) == before
    own = identities.of(os.getpid())
    assert own.command
    assert own.kind in ("process", "container", "unit", "host")
