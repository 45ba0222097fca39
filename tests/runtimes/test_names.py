# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Who a real container's mount namespace belongs to, with each runtime, from outside."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.runtimes.runtimes import RUNTIMES, Container, own_cgroups, script

Run = Callable[..., CompletedProcess[str]]

# Tells its mount namespace, and ends when it is told to.
INNER = "readlink /proc/self/ns/mnt >/volume/ns; read -r word </volume/gate"

# The identities of all processes in a namespace of this machine; first those of this script's.
ASK = """
import dataclasses, json, os, sys
from mnttrace.capture.identity.identify import Identities
from mnttrace.linux.namespaces import mount_namespaces

before = os.listdir("/proc/self/fd")
identities = Identities()
for name in (os.readlink("/proc/self/ns/mnt"), sys.argv[1]):
    pids = mount_namespaces().namespaces[int(name.strip("mnt:[]"))].pids
    print(json.dumps([dataclasses.asdict(identities.of(pid)) for pid in pids]))
assert os.listdir("/proc/self/fd") == before
"""

BODY = """
mkfifo volume/gate
sh -ec "$CONTAINER" >container.log 2>&1 & container=$!
until [ -s volume/ns ]; do
  kill -0 $container || { cat container.log; exit 1; }
  sleep .02
done
"$PYTHON" ask.py "$(cat volume/ns)"
echo go >volume/gate
wait $container
"""

HEX = "[0-9a-f]{64}"
EXPECTED = {  # id, and the other fields
    "runc": ("web", {"runtime": "runc", "name": "web"}),
    "crun": ("web", {"runtime": "crun", "name": "web"}),
    "crun-no-cgroups": ("web", {"runtime": "crun", "name": "web"}),
    "podman": (HEX, {"runtime": "podman", "name": "web", "image": "localhost/busybox:latest"}),
    "podman-no-cgroups": (
        HEX,
        {"runtime": "podman", "name": "web", "image": "localhost/busybox:latest"},
    ),
    "containerd": ("web", {"runtime": "containerd", "name": "web"}),
    "docker": (HEX, {"runtime": "docker", "name": "web", "image": "busybox"}),
    "lxc": ("", {"runtime": "lxc", "name": "web"}),
    "nspawn": ("", {"runtime": "systemd-nspawn", "name": "web"}),
    "bwrap": ("", {"runtime": "bubblewrap", "name": "sh"}),
}

ALL = [
    pytest.param(name, marks=pytest.mark.kernel(*runtime.commands), id=name)
    for name, runtime in RUNTIMES.items()
]


@pytest.mark.parametrize("runtime", ALL)
def test_a_running_container_is_named(runtime: str, in_namespace: Run, tmp_path: Path) -> None:
    said = run(runtime, Container(INNER), BODY, in_namespace, tmp_path)
    around, inside = said
    assert inside
    id, fields = EXPECTED[runtime]
    for identity in inside:
        assert identity["kind"] == "container"
        assert re.fullmatch(id, identity["id"])
        assert identity | fields == identity
    # What watches over it (conmon, shims, daemons) is not in its namespace, and not called so.
    assert {identity["kind"] for identity in around} == {"process"}


@pytest.mark.parametrize("runtime", [param for param in ALL if param.id in ("runc", "crun")])
def test_a_container_is_named_while_it_is_made(
    runtime: str, in_namespace: Run, tmp_path: Path
) -> None:
    # A createRuntime hook runs before the runtime's own mounts, and gets the state on its stdin.
    hook = f"""
cd {tmp_path}
pid=$(sed 's/.*"pid": *\\([0-9]*\\).*/\\1/')
{sys.executable} ask.py "$(readlink /proc/$pid/ns/mnt)" >said 2>&1
"""
    body = 'sh -ec "$CONTAINER"; cat said'
    _, inside = run(runtime, Container("true", hook=hook), body, in_namespace, tmp_path)
    assert [(who["kind"], who["id"], who["runtime"]) for who in inside] == [
        ("container", "web", runtime)
    ]


def run(
    runtime: str, container: Container, body: str, in_namespace: Run, folder: Path
) -> list[list[dict[str, Any]]]:
    (folder / "ask.py").write_text(ASK)
    with own_cgroups() as cgroups:
        text = script(runtime, folder, container, body)
        done = in_namespace(text, CGROUPS=cgroups, PYTHON=sys.executable)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
