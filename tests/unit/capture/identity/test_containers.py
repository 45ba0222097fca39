# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the files of container runtimes say, and what they cannot do to their reader.

The real texts are of Debian 12's runc 1.1.5, crun 1.8.1, podman 4.3.1, containerd 1.6.20, docker
20.10.24, LXC 5.0.2 and systemd-nspawn 252; those for Kubernetes are as its users published them.
"""

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnttrace.capture.identity.containers import Containers, Records
from mnttrace.capture.identity.hints import ContainerHint
from mnttrace.linux.text import clean
from tests.unit.capture.identity.machine import (
    ID,
    OTHER,
    OUTER,
    PODS,
    SLICE,
    STORAGE,
    TASKS,
    UID,
    Machine,
    crun_status,
    fields,
    hybrid,
    runc_state,
)

# ---- names


def docker_file(**config: Any) -> dict[str, Any]:
    return {"ID": ID, "Name": "/web", "Config": {"Image": "busybox", "Labels": {}} | config}


def test_docker_says_the_name_and_the_image(machine: Machine) -> None:
    machine.file(f"var/lib/docker/containers/{ID}/config.v2.json", docker_file())
    machine.process(7, cgroup=hybrid(f"/docker/{ID}"))
    assert fields(machine.of(), "runtime", "name", "image") == ("docker", "web", "busybox")


def test_docker_is_found_under_another_data_root(machine: Machine) -> None:
    place = machine.file(f"data/containers/{ID}/config.v2.json", docker_file())
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/etc/hostname", "source": str(place.parent / "hostname")},
    ]
    bundle = f"run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{ID}"
    machine.file(f"{bundle}/config.json", {"mounts": mounts})
    machine.process(7, cgroup=f"0::/custom/{ID}\n")
    assert fields(machine.of(), "runtime", "name", "image") == ("docker", "web", "busybox")


def test_a_pod_of_docker_is_named_by_labels(machine: Machine) -> None:
    labels = {
        "io.kubernetes.container.name": "app",
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": UID,
    }
    machine.file(f"var/lib/docker/containers/{ID}/config.v2.json", docker_file(Labels=labels))
    machine.process(7, cgroup=f"0::{PODS}/{SLICE}/docker-{ID}.scope\n")
    who = machine.of()
    assert who.name == "shop/web-0/app"
    assert fields(who, "pod_namespace", "pod", "pod_container", "pod_uid") == (
        "shop",
        "web-0",
        "app",
        UID,
    )


CRI = {
    "io.kubernetes.cri.container-name": "app",
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.image-name": "docker.io/library/nginx:latest",
    "io.kubernetes.cri.sandbox-id": OTHER,
    "io.kubernetes.cri.sandbox-name": "web-0",
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-uid": UID,
}


@pytest.mark.parametrize(
    "cgroup",
    [f"0::{PODS}/{SLICE}/cri-containerd-{ID}.scope\n", f"0::/kubepods/burstable/pod{UID}/{ID}\n"],
)
def test_a_pod_of_containerd_is_named_by_annotations(machine: Machine, cgroup: str) -> None:
    machine.file(f"{TASKS}/k8s.io/{ID}/config.json", {"annotations": CRI})
    machine.process(7, cgroup=cgroup)
    who = machine.of()
    assert fields(who, "runtime", "id", "name", "image") == (
        "containerd",
        ID,
        "shop/web-0/app",
        "docker.io/library/nginx:latest",
    )
    assert fields(who, "pod_namespace", "pod", "pod_container", "pod_uid") == (
        "shop",
        "web-0",
        "app",
        UID,
    )


def test_a_pods_own_container_has_no_name_in_it(machine: Machine) -> None:
    sandbox = CRI | {"io.kubernetes.cri.container-type": "sandbox"}
    del sandbox["io.kubernetes.cri.container-name"]
    machine.file(f"{TASKS}/k8s.io/{ID}/config.json", {"annotations": sandbox})
    machine.process(7, cgroup=f"0::{PODS}/{SLICE}/cri-containerd-{ID}.scope\n")
    assert fields(machine.of(), "name", "pod_container") == ("shop/web-0", "")


@pytest.mark.parametrize(
    ("container", "name"),
    [("coredns", "kube-system/dns-4x/coredns"), ("POD", "kube-system/dns-4x")],
)
@pytest.mark.parametrize("cgroup", [f"crio-{ID}.scope/container", f"pod{UID}/{ID}"])
def test_a_pod_of_crio_is_named_by_annotations(
    machine: Machine, cgroup: str, container: str, name: str
) -> None:
    notes = {
        "io.container.manager": "cri-o",
        "io.kubernetes.container.name": container,
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.ImageName": "k8s.gcr.io/coredns/coredns:v1.8.6",
        "io.kubernetes.pod.name": "dns-4x",
        "io.kubernetes.pod.namespace": "kube-system",
        "io.kubernetes.pod.uid": UID,
    }
    bundle = f"run/containers/storage/overlay-containers/{ID}/userdata"
    machine.file(f"{bundle}/config.json", {"annotations": notes})
    machine.process(7, cgroup=f"0::/kubepods/{cgroup}\n")
    who = machine.of()
    assert fields(who, "runtime", "name", "pod_uid") == ("cri-o", name, UID)
    assert who.image == "k8s.gcr.io/coredns/coredns:v1.8.6"


def podman_list(id: str = ID) -> list[dict[str, Any]]:
    metadata = json.dumps({"image-name": "localhost/bb:latest", "name": "web"} | {"x": "x" * 5000})
    other = {"id": OTHER, "names": ["other"], "metadata": "{}"}
    return [other, {"id": id, "names": ["web"], "image": "d309", "metadata": metadata}]


def test_podman_says_the_name_and_the_image(machine: Machine) -> None:
    machine.file(f"{STORAGE}/containers.json", podman_list())
    machine.process(7, cgroup=hybrid(f"/libpod_parent/libpod-{ID}"))
    assert fields(machine.of(), "runtime", "name", "image") == (
        "podman",
        "web",
        "localhost/bb:latest",
    )


def test_podmans_list_is_read_again_once_it_changes(machine: Machine) -> None:
    place = machine.file(f"{STORAGE}/containers.json", podman_list(OTHER))
    machine.process(7, cgroup=f"0::/libpod_parent/libpod-{ID}\n")
    assert machine.of().name == ID[:12]
    place.unlink()
    machine.file(f"{STORAGE}/containers.json", podman_list())
    assert machine.of().name == "web"


def conmon(machine: Machine, pid: int = 6, bundle: str = "", **options: Any) -> None:
    arguments = ["--api-version", "1", "-c", ID, "-u", ID, "-r", "/usr/bin/runc", "-b", bundle]
    arguments += ["-n", "web", "--exit-dir", "/run/libpod/exits", "--exit-command-arg", "-n"]
    machine.process(pid, "/usr/bin/conmon", *arguments, ns=OUTER, comm="conmon", **options)


def test_conmon_leads_to_the_list_of_a_rootless_podman(machine: Machine) -> None:
    home = "home/me/.local/share/containers/storage/overlay-containers"
    machine.file(f"{home}/containers.json", podman_list())
    conmon(machine, bundle=str(machine.root / home / ID / "userdata"))
    machine.process(7, parent=6, cgroup=f"0::/user.slice/libpod-{ID}.scope/container\n")
    assert fields(machine.of(), "name", "image") == ("web", "localhost/bb:latest")
    assert machine.of(6).kind == "process"


def test_conmons_name_does_where_the_list_is_gone(machine: Machine) -> None:
    conmon(machine)
    machine.process(7, parent=6)
    assert fields(machine.of(), "runtime", "id", "name") == ("podman", ID, "web")


def test_a_container_that_podman_lists_without_a_name(machine: Machine) -> None:
    machine.file(f"{STORAGE}/containers.json", [{"id": ID, "names": [], "metadata": "{}"}])
    machine.process(7, cgroup=f"0::/libpod_parent/libpod-{ID}\n")
    assert fields(machine.of(), "runtime", "name") == ("podman", ID[:12])


def test_the_conmon_of_an_outer_container_does_not_name_the_inner_one(machine: Machine) -> None:
    conmon(machine)
    machine.process(7, parent=6, cgroup=f"0::/libpod-{ID}/libpod_parent/libpod-{OTHER}\n")
    assert fields(machine.of(), "id", "name") == (OTHER, OTHER[:12])


def test_a_relative_bundle_is_not_looked_up_here(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.file("storage/containers.json", podman_list())
    monkeypatch.chdir(machine.root)
    conmon(machine, bundle=f"storage/{ID}/userdata")
    machine.process(7, parent=6)
    assert fields(machine.of(), "name", "image") == ("web", "")


def test_lxc_names_a_cgroup_anew_where_a_stale_one_is_in_the_way(machine: Machine) -> None:
    for name in ("web", "db", "db-1"):
        machine.file(f"var/lib/lxc/{name}/config", "")
    for pid, cgroup, name in (
        (7, "web-1", "web"),
        (8, "db-1", "db-1"),
        (9, "mail-1", "mail-1"),
        (10, "..-1", "..-1"),
        (11, "7", "7"),
        (12, "web-x", "web-x"),
    ):
        machine.process(pid, cgroup=f"0::/lxc.payload.{cgroup}\n")
        assert machine.of(pid).name == name


# ---- strangers' data


def test_text_is_kept_as_it_is_and_can_be_written(machine: Machine) -> None:
    name = "/we\x1b[31mb\n\ud800\U0001f433"
    machine.file(f"var/lib/docker/containers/{ID}/config.v2.json", docker_file() | {"Name": name})
    machine.process(7, "sl\udcffeep", "\x1b[0m", comm="a)\n (b ", cgroup=f"0::/docker/{ID}\n")
    who = machine.of()
    assert who.name == "we\x1b[31mb\n\\ud800\U0001f433"
    assert fields(who, "comm", "command") == ("a)\n (b ", ("sl\udcffeep", "\x1b[0m"))
    for text in (who.name, who.comm, *who.command):
        clean(text).encode()


def test_a_name_in_stat_does_not_pass_for_the_parent(machine: Machine) -> None:
    machine.process(6, "runc", "run", "demo", ns=OUTER)
    machine.process(7, comm="x) S 6 0", parent=1)
    assert machine.of().kind == "process"


BROKEN = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 5000,
    b"null",
    b'"text"',
    b"[null, [], {}, 1]",
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_counts_as_none(machine: Machine, content: bytes) -> None:
    for path in (
        "run/runc/demo/state.json",
        "run/crun/demo/status",
        "run/systemd/machines/web",
        f"var/lib/docker/containers/{ID}/config.v2.json",
        f"{TASKS}/k8s.io/{ID}/config.json",
        f"{STORAGE}/containers.json",
    ):
        machine.file(path, content)
    for pid, cgroup in enumerate(("docker/", "kubepods/", "libpod/libpod-"), 7):
        machine.process(pid, cgroup=f"0::/{cgroup}{ID}\n")
        assert fields(machine.of(pid), "kind", "name") == ("container", ID[:12])
    machine.process(10)
    assert machine.of(10).kind == "process"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(
    ["init_process_pid", "init_process_start", "config", "labels", "cgroup_paths", "pid", "id",
     "bundle", "cgroup-path", "names", "metadata", "annotations", "mounts", "Config", "Name",
     "Labels", "Image"], JSON)), JSON)  # fmt: skip
def test_no_shape_of_json_raises(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], inner: Any
) -> None:
    machine = Machine(tmp_path_factory.mktemp("json"))
    nested = content | {"config": {"labels": inner}, "Config": {"Labels": inner, "Image": inner}}
    for at, written in enumerate((content, nested)):
        machine.file(f"run/runc/any{at}/state.json", written)
        machine.file(f"run/crun/any{at}/status", written)
        machine.file(f"run/runc/demo{at}/state.json", written | {"init_process_pid": 70})
        machine.file(f"run/crun/demo{at}/status", written | {"pid": 70})
        machine.file(f"var/lib/docker/containers/{ID[:-1]}{at}/config.v2.json", written)
        machine.file(f"{TASKS}/k8s.io/{ID[:-1]}{at}/config.json", written)
    machine.file(f"{STORAGE}/containers.json", [content, nested, content | {"id": ID}])
    machine.process(70)
    assert machine.of(70).kind in ("container", "process")
    for pid, place in enumerate(("docker/", "kubepods/", "libpod/libpod-", ""), 10):
        for at in (0, 1):
            machine.process(pid * 10 + at, cgroup=f"0::/{place}{ID[:-1]}{at}\n")
            assert machine.of(pid * 10 + at).kind == "container"


def test_a_huge_file_counts_as_none(machine: Machine) -> None:
    huge = json.dumps(docker_file() | {"x": "x" * (4 << 20)})
    machine.file(f"var/lib/docker/containers/{ID}/config.v2.json", huge)
    machine.process(7, cgroup=f"0::/docker/{ID}\n")
    assert machine.of().name == ID[:12]
    machine.file("run/runc/demo/state.json", runc_state(x="x" * (1 << 18)))
    machine.process(70)
    assert machine.of(70).kind == "process"
    (machine.proc / "70/cmdline").write_bytes(b"x" * (1 << 20))
    assert sum(map(len, machine.of(70).command)) <= 1 << 14


def test_a_long_name_is_cut(machine: Machine) -> None:
    content = docker_file() | {"Name": "n" * 100_000}
    machine.file(f"var/lib/docker/containers/{ID}/config.v2.json", content)
    machine.process(7, cgroup=f"0::/docker/{ID}\n")
    assert machine.of().name == "n" * 1024


def test_what_is_no_regular_file_is_not_opened_or_waited_for(machine: Machine) -> None:
    secret = machine.file("secret.json", docker_file())
    place = machine.root / f"var/lib/docker/containers/{ID}"
    place.mkdir(parents=True)
    (place / "config.v2.json").symlink_to(secret)
    machine.process(7, cgroup=f"0::/docker/{ID}\n")
    assert machine.of().name == ID[:12]
    (place / "config.v2.json").unlink()
    os.mkfifo(place / "config.v2.json")
    assert machine.of().name == ID[:12]
    filled = os.open(place / "config.v2.json", os.O_RDWR)
    os.write(filled, json.dumps(docker_file()).encode())
    assert machine.of().name == ID[:12]
    os.close(filled)


IDS = ["..", ".", "../secret", "/etc", "a/../b", "-x", "a\0b", "\ud800", ""]


@pytest.mark.parametrize("id", IDS, ids=ascii)
def test_an_id_that_is_no_file_name_leads_to_no_file(machine: Machine, id: str) -> None:
    # Were it part of a path, it would lead to one of these.
    for path in ("config.json", "secret/config.json", "k8s.io/config.json", "k8s.io/b/config.json"):
        machine.file(f"{TASKS}/{path}", {"annotations": CRI})
    containers = Containers(str(machine.root))
    assert containers.describe(ContainerHint("containerd", "b")).pod == "web-0"
    assert containers.describe(ContainerHint("containerd", id)).pod == ""
    assert containers.describe(ContainerHint("docker", id)).image == ""


def test_an_id_with_slashes_in_an_argument_leads_to_no_file(machine: Machine) -> None:
    machine.file(f"{TASKS}/secret/config.json", {"annotations": CRI})
    machine.process(6, "runc", "run", "../secret", ns=OUTER)
    machine.process(7, parent=6)
    assert fields(machine.of(), "kind", "id", "pod") == ("container", "../secret", "")


def test_an_id_that_a_person_chose_is_looked_up_with_its_own_runtime_alone(
    machine: Machine,
) -> None:
    machine.file(f"{TASKS}/default/web/config.json", {"annotations": {"nerdctl/name": "shop"}})
    containers = Containers(str(machine.root))
    assert containers.describe(ContainerHint("containerd", "web")).name == "shop"
    assert containers.describe(ContainerHint("runc", "web"))[:2] == ("runc", "web")


def test_a_source_that_is_no_path_leads_to_no_file(machine: Machine) -> None:
    for source in (f"\0/containers/{ID}/hostname", f"\ud800/containers/{ID}/hostname", 7, None):
        machine.file(f"{TASKS}/moby/{ID}/config.json", {"mounts": [{"source": source}, 3]})
        if not (machine.proc / "7").exists():
            machine.process(7, cgroup=f"0::/docker/{ID}\n")
        assert machine.of().name == ID[:12]


def test_more_records_of_a_user_than_can_be_true_are_not_all_read(machine: Machine) -> None:
    machine.process(70, user=4026532190)
    for at in range(300):
        machine.file(f"run/user/1000/crun/c{at}/status", crun_status(pid=71))
    assert len(list(Records(str(machine.root)))) == 128
