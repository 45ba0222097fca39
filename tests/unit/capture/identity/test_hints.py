# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What cgroups and command lines say, one by one.

The real texts are of Debian 12's runc 1.1.5, crun 1.8.1, podman 4.3.1, containerd 1.6.20, docker
20.10.24, LXC 5.0.2 and systemd-nspawn 252; those for Kubernetes are as its users published them.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnttrace.capture.identity.hints import hint_of_command
from mnttrace.capture.identity.identify import Identities
from mnttrace.capture.join.identity import ProcessHints
from tests.unit.capture.identity.machine import (
    HOST,
    ID,
    INNER,
    OTHER,
    OUTER,
    PODS,
    SHIM,
    SLICE,
    UID,
    Machine,
    fields,
    hybrid,
)

# ---- cgroups


CONTAINERS = {
    hybrid(f"/docker/{ID}"): ("docker", ID, ""),
    f"0::/system.slice/docker-{ID}.scope\n": ("docker", ID, ""),
    f"0::/../{ID}\n": ("", ID, ""),
    hybrid(f"/libpod_parent/libpod-{ID}"): ("podman", ID, ""),
    f"0::/libpod_parent/{OTHER}/libpod-{ID}\n": ("podman", ID, ""),
    f"0::/machine.slice/libpod-{ID}.scope\n": ("podman", ID, ""),
    f"0::/machine.slice/libpod-{ID}.scope/container\n": ("podman", ID, ""),
    f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope\n": (
        "podman",
        ID,
        "",
    ),
    f"0::/system.slice/web.service/libpod-payload-{ID}\n": ("podman", ID, ""),
    f"0::{PODS}/{SLICE}/cri-containerd-{ID}.scope\n": ("containerd", ID, UID),
    f"0::{PODS}/{SLICE}/crio-{ID}.scope\n": ("cri-o", ID, UID),
    f"0::{PODS}/{SLICE}/docker-{ID}.scope\n": ("docker", ID, UID),
    f"11:pids:/kubepods/besteffort/pod{UID}/{ID}\n1:name=systemd:/\n": ("kubernetes", ID, UID),
    f"0::/kubepods/pod{'0123456789abcdef' * 2}/{ID}\n": (
        "kubernetes",
        ID,
        "0123456789abcdef" * 2,  # of a pod that the kubelet has from a file
    ),
    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod"
    f"{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope\n": ("containerd", ID, UID),
    # The name for systemd went to the file system.
    f"9:cpu,cpuacct:/system.slice/containerd.service/{SLICE}:cri-containerd:{ID}\n": (
        "containerd",
        ID,
        UID,
    ),
    # The innermost container counts, and the line that knows more.
    f"0::/docker/{OTHER}{PODS}/{SLICE}/cri-containerd-{ID}.scope\n": ("containerd", ID, UID),
    f"1:name=systemd:/docker/{OTHER}\n2:pids:/docker/{OTHER}/docker/{ID}\n": ("docker", ID, ""),
    f"0::/docker/{ID}/system.slice/cron.service\n": ("docker", ID, ""),
    f"0::/docker/{ID} (deleted)\n": ("docker", ID, ""),
    f"/docker/{ID}": ("docker", ID, ""),
    f"0::/docker/{ID}/libpod_parent/conmon\n": ("docker", ID, ""),
    "0::/docker/buildkit/qj3q2zbr5yxyemnv6bcpbhxqw\n": (
        "buildkit",
        "qj3q2zbr5yxyemnv6bcpbhxqw",
        "",
    ),
    "0::/system.slice/runc-web.scope\n": ("runc", "web", ""),
    "0::/user.slice/crun-web.1.scope\n": ("crun", "web.1", ""),
}


@pytest.mark.parametrize("cgroup", CONTAINERS)
def test_a_cgroup_names_a_container(machine: Machine, cgroup: str) -> None:
    machine.process(7, "sleep", "1000", cgroup=cgroup)
    who = machine.of()
    runtime, id, uid = CONTAINERS[cgroup]
    assert fields(who, "kind", "runtime", "id", "pod_uid") == ("container", runtime, id, uid)
    assert who.name == (id[:12] if len(id) == 64 else id)
    assert fields(who, "comm", "pid", "command") == ("sleep", 7, ("sleep", "1000"))


NAMED = {
    hybrid("/lxc.payload.web"): ("lxc", "web"),
    "0::/lxc.payload.web/init.scope\n": ("lxc", "web"),
    "0::/lxc.payload/web\n": ("lxc", "web"),
    "4:memory:/lxc/web\n": ("lxc", "web"),
    "0::/machine.slice/machine-lxc\\x2d4711\\x2dweb\\x2d1.scope\n": ("lxc", "web-1"),
    "0::/machine.slice/machine-my\\x2dweb.scope/payload\n": ("systemd-nspawn", "my-web"),
    "0::/machine.slice/systemd-nspawn@web.service/payload/init.scope\n": ("systemd-nspawn", "web"),
}


@pytest.mark.parametrize("cgroup", NAMED)
def test_a_cgroup_names_a_container_that_has_no_id(machine: Machine, cgroup: str) -> None:
    machine.process(7, cgroup=cgroup)
    assert fields(machine.of(), "kind", "id", "runtime", "name") == (
        "container",
        "",
        *NAMED[cgroup],
    )


NO_CONTAINERS = {
    "0::/system.slice/systemd-udevd.service/udev\n": ("unit", "systemd-udevd.service"),
    "5:pids:/system.slice/cron.service\n1:name=systemd:/system.slice/cron.service\n": (
        "unit",
        "cron.service",
    ),
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-mail.service\n": (
        "unit",
        "app-mail.service",
    ),
    # Only systemd's own hierarchy tells whose a process is now.
    "5:pids:/system.slice/ssh.service\n1:name=systemd:/user.slice/user-0.slice/session-3.scope\n": (
        "process",
        "session-3.scope",
    ),
    # Processes in a scope were started by others than systemd: it does not say what they are.
    "0::/user.slice/user-1000.slice/session-3.scope\n": ("process", "session-3.scope"),
    "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator\n": (
        "process",
        "machine-qemu\\x2d1\\x2dvm.scope",
    ),
    "0::/kubepods.slice\n": ("process", ""),
    "0::/\n": ("process", ""),
    "": ("process", ""),
    # What watches over a container has a cgroup much like the container's.
    f"0::/machine.slice/libpod-conmon-{ID}.scope\n": ("process", f"libpod-conmon-{ID}.scope"),
    f"0::{PODS}/{SLICE}/crio-conmon-{ID}.scope\n": ("process", f"crio-conmon-{ID}.scope"),
    f"0::/libpod_parent/{ID}/conmon\n": ("process", ""),
    "0::/lxc.monitor.web\n": ("process", ""),
    "0::/machine.slice/machine-web.scope/supervisor\n": ("process", "machine-web.scope"),
    # No whole id.
    f"0::/docker/{ID[:-1]}\n": ("process", ""),
    f"0::/docker/{ID}0\n": ("process", ""),
}


@pytest.mark.parametrize("cgroup", NO_CONTAINERS)
def test_a_cgroup_that_names_no_container(machine: Machine, cgroup: str) -> None:
    machine.process(7, cgroup=cgroup)
    who = machine.of()
    kind, unit = NO_CONTAINERS[cgroup]
    assert fields(who, "kind", "unit") == (kind, unit)
    assert who.name == (unit if kind == "unit" else "sleep[7]")
    assert fields(who, "id", "runtime", "pod_uid") == ("", "", "")


def test_the_unit_of_a_container_is_told_too(machine: Machine) -> None:
    machine.process(7, cgroup=f"0::/system.slice/web.service/libpod-payload-{ID}\n")
    assert fields(machine.of(), "kind", "unit") == ("container", "web.service")


# ---- command lines

WATCHERS = {
    "conmon": (("/usr/bin/conmon", "-c", ID, "-n", "web"), "podman", ID, "web"),
    "conmon of CRI-O": (
        ("conmon", "-c", ID, "-n", "k8s_app", "--exit-dir", "/var/run/crio/exits"),
        "cri-o",
        ID,
        ID[:12],
    ),
    "shim": ((SHIM, "-namespace", "default", "-id", "c1"), "containerd", "c1", "c1"),
    "shim of docker": ((SHIM, "-namespace", "moby", "-id", ID), "docker", ID, ID[:12]),
    "runc run": (("runc", "run", "demo"), "runc", "demo", "demo"),
    "runc create": (
        ("/sbin/runc", "--root", "/x", "--log=y", "create", "--bundle", "/b", "demo"),
        "runc",
        "demo",
        "demo",
    ),
    "crun start": (("crun", "--systemd-cgroup", "start", "demo"), "crun", "demo", "demo"),
    "lxc-start": (("lxc-start", "-F", "--name=web", "--", "sh", "-n", "x"), "lxc", "", "web"),
    "lxc monitor": (("[lxc monitor] /var/lib/my lxc web",), "lxc", "", "web"),
    "nspawn": (("systemd-nspawn", "-q", "-M", "web", "-D", "/r"), "systemd-nspawn", "", "web"),
    "nspawn without a name": (("systemd-nspawn", "-D", "/srv/web/"), "systemd-nspawn", "", "web"),
    "bwrap": (
        ("bwrap", "--unshare-pid", "--bind", "a", "b", "--proc", "/proc", "/usr/bin/app", "--x"),
        "bubblewrap",
        "",
        "app",
    ),
    "bwrap of flatpak": (("bwrap", "--args", "42", "--", "app"), "bubblewrap", "", "app"),
}


@pytest.mark.parametrize("watcher", WATCHERS)
def test_the_command_line_of_an_ancestor_names_the_container(
    machine: Machine, watcher: str
) -> None:
    command, *expected = WATCHERS[watcher]
    machine.process(5, "sh", "-c", "runc run other", ns=HOST)
    machine.process(6, *command, ns=OUTER, parent=5)
    machine.process(7, "sleep", parent=6)
    machine.process(8, "sleep", parent=7)
    for pid in (7, 8):
        assert fields(machine.of(pid), "runtime", "id", "name") == tuple(expected)
    # The watcher itself is outside, and so is what it starts there.
    machine.process(9, "sh", ns=OUTER, parent=6)
    assert [machine.of(pid).kind for pid in (6, 9)] == ["process", "process"]


@pytest.mark.parametrize(
    "command",
    [
        ("runc", "exec", "demo", "run"),
        ("runc", "--root", "run", "list"),
        ("runc", "run"),
        ("runc", "run", "--help"),
        ("podman", "run", "demo"),
        ("conmon",),
        ("conmon", "-c"),
        (SHIM, "-namespace", "default"),
        ("lxc-start", "-F"),
        ("lxc-start", "-F", "--", "sh", "-n", "x"),
        ("",),
        (),
    ],
)
def test_other_command_lines_of_ancestors_name_none(
    machine: Machine, command: tuple[str, ...]
) -> None:
    machine.process(6, *command, ns=OUTER)
    machine.process(7, parent=6)
    assert machine.of().kind == "process"


TEXT = st.text(st.characters(codec=None), max_size=80)
PIECE = st.sampled_from(
    [ID, "/", "docker", "-", ".scope", ":", "lxc.payload.", "machine-", "\\x2d", "\\xff",
     "kubepods", "pod", UID, "conmon", "\n", " (deleted)", "0::", "systemd-nspawn@",
     ".service", "supervisor"]
)  # fmt: skip
WORD = st.sampled_from(
    ["runc", "crun", "conmon", "bwrap", "systemd-nspawn", "lxc-start", SHIM, "run", "create", "--",
     "-c", "-n", "-M", "-D", "-id", "--bundle", "/", "..", "--bind", "--args", "[lxc monitor] ", ID]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECE | TEXT, max_size=12).map("".join), st.lists(WORD | TEXT, max_size=8), TEXT)
@example("0::/docker/" + ID, [], "runc:[1:CHILD]")
def test_no_text_raises(
    tmp_path_factory: pytest.TempPathFactory, cgroup: str, command: list[str], comm: str
) -> None:
    identities = Identities(str(tmp_path_factory.getbasetemp() / "none"), "/nonexistent")
    seen = ProcessHints(comm=comm, cgroup=cgroup, command=tuple(command), parent=6, ns=INNER)
    who = identities.of(7, seen)
    assert who.kind in ("container", "unit", "process")
    assert (who.kind == "container") == bool(who.runtime or who.id)
    hint_of_command(command)
