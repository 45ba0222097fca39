# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How each container runtime is started for a test: with a busybox made here, and no image pulled.

    with own_cgroups() as cgroups:
        text = script("podman", tmp_path, Container("touch /volume/here"), body)
        in_namespace(text, CGROUPS=cgroups)

The container has the folder `volume` of the test's folder at /volume, mounted with the propagation
that is asked for. What runtimes keep (/run, /var/lib) and their cgroups are the test's own, and
gone after it. Needed from Debian 12, by `apt-get install --no-install-recommends`: busybox-static,
runc, crun, podman, netavark, containerd, docker.io, lxc, systemd-container, bubblewrap.
"""

import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Container:
    """A container to be started.

    Attributes:
        inner: what `/bin/sh -ec` runs in it; it may mount, below /volume too.
        name: how it is called.
        propagation: of its volume, one of the runtime's `propagations`.
        hook: what `/bin/sh -ec` runs outside once its namespaces are made, before the runtime sets
            up its mounts, with the container's state on stdin. Only for runc and crun, as is:
        root_propagation: of its root directory; "": as docker and podman do.
        annotations: of the bundle, as Kubernetes' runtimes write them.
    """

    inner: str
    name: str = "web"
    propagation: str = "rprivate"
    hook: str = ""
    root_propagation: str = ""
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Shell text: `prepare` goes first and may leave a $daemon, `run` ends with the container."""

    run: str
    prepare: str = ""


Starter = Callable[[Path, Container], Start]

# docker, containerd and podman leave keys, locks and folders there, too.
KEEP_OUT = """
for folder in etc opt; do
  mkdir -p /run/own/$folder /run/own/work-$folder
  mount -t overlay -o lowerdir=/$folder,upperdir=/run/own/$folder,workdir=/run/own/work-$folder \\
    own /$folder
done
"""

APPLETS = "sh cat ls mkdir mount umount readlink sleep touch".split()  # noqa: SIM905


def make_rootfs(rootfs: Path) -> None:
    """A root file system of busybox alone; with its libraries, should it not be the static one."""
    for name in "bin dev etc proc run sys tmp usr volume".split():  # noqa: SIM905
        (rootfs / name).mkdir(parents=True)
    (rootfs / "etc/os-release").write_text("ID=busybox\n")  # systemd-nspawn wants one
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, rootfs / "bin/busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    told = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=False).stdout
    for library in (word for word in told.split() if word.startswith("/")):
        (rootfs / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, rootfs / library[1:])


# ---- each runtime


def oci(command: str) -> Starter:
    """runc or crun by itself, in the foreground; `command` may have options."""

    def start(folder: Path, container: Container) -> Start:
        bundle = folder / "bundle"
        subprocess.run([command.partition(" ")[0], "spec"], cwd=bundle, check=True)
        config: dict[str, Any] = json.loads((bundle / "config.json").read_text())
        process = config["process"]
        process |= {"terminal": False, "args": ["/bin/sh", "-ec", container.inner]}
        for allowed in process["capabilities"].values():
            allowed.append("CAP_SYS_ADMIN")
        # As docker and podman do: without it runc makes a slave of a shared volume, crun nothing.
        if container.propagation != "rprivate" or container.root_propagation:
            to = container.root_propagation or container.propagation
            config["linux"]["rootfsPropagation"] = to
        config["annotations"] = container.annotations
        config["mounts"].append(
            {
                "destination": "/volume",
                "type": "bind",
                "source": str(folder / "volume"),
                "options": ["rbind", "rw", container.propagation],
            }
        )
        if container.hook:
            hook = {"path": "/bin/sh", "args": ["sh", "-ec", container.hook]}
            hook["env"] = [f"PATH={os.environ['PATH']}"]
            config["hooks"] = {"createRuntime": [hook]}
        (bundle / "config.json").write_text(json.dumps(config))
        return Start(f"{command} run --bundle bundle {container.name}")

    return start


def podman(runtime: str, *options: str) -> Starter:
    """podman with runc or crun, told what it cannot have on a machine without systemd.

    Without limits of its own it asks for more than a root without CAP_SYS_RESOURCE may have.
    """

    def start(folder: Path, container: Container) -> Start:
        command = f"podman --runtime {runtime} --cgroup-manager cgroupfs --events-backend file"
        limits = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
        return Start(
            f"{command} run --rm --name {container.name} --network none {limits}"
            f" --cap-add SYS_ADMIN {' '.join(options)}"
            f" --volume {folder}/volume:/volume:{container.propagation}"
            f" localhost/busybox /bin/sh -ec {shlex.quote(container.inner)}",
            prepare=KEEP_OUT
            + f"tar -C bundle/rootfs -c . | {command} import --quiet - localhost/busybox >image\n",
        )

    return start


def containerd(folder: Path, container: Container) -> Start:
    """containerd by ctr, without its CRI plugin, which wants a network."""
    config = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    (folder / "containerd.toml").write_text(config)
    shared = "--rootfs-propagation shared" if container.propagation == "rshared" else ""
    options = f"rbind:rw:{container.propagation}"
    return Start(
        f"ctr run --rm {shared} --privileged"
        f" --mount type=bind,src={folder}/volume,dst=/volume,options={options}"
        f" --rootfs {folder}/bundle/rootfs {container.name}"
        f" /bin/sh -ec {shlex.quote(container.inner)}",
        prepare=KEEP_OUT + daemon("containerd --config containerd.toml", until="ctr version"),
    )


def docker(folder: Path, container: Container) -> Start:
    """A dockerd that leaves the machine's network alone."""
    quiet = "--iptables=false --ip6tables=false --bridge=none --storage-driver=overlay2"
    return Start(
        f"docker run --rm --name {container.name} --network none --cap-add SYS_ADMIN"
        f" --volume {folder}/volume:/volume:{container.propagation}"
        f" busybox /bin/sh -ec {shlex.quote(container.inner)}",
        prepare=KEEP_OUT
        + daemon(f"dockerd {quiet}", until="docker version")
        + "tar -C bundle/rootfs -c . | docker import - busybox >image\n",
    )


def lxc(folder: Path, container: Container) -> Start:
    """LXC in the foreground.

    It goes by the cgroup of pid 1, which is none of the test's own: it gets to see another.
    """
    home = f"/var/lib/lxc/{container.name}"
    (folder / "lxc.conf").write_text(
        f"""lxc.rootfs.path = dir:{folder}/bundle/rootfs
lxc.mount.auto = proc:rw sys:ro
lxc.mount.entry = {folder}/volume volume none rbind 0 0
lxc.net.0.type = empty
"""
    )
    return Start(
        f"lxc-start --foreground --name {container.name}"
        f" -- /bin/sh -ec {shlex.quote(container.inner)}",
        prepare=f"mkdir -p {home}; cp lxc.conf {home}/config\n"
        "cat /proc/self/cgroup >cgroup-of-1; mount --bind cgroup-of-1 /proc/1/cgroup",
    )


def nspawn(folder: Path, container: Container) -> Start:
    """systemd-nspawn where no systemd runs."""
    return Start(
        f"systemd-nspawn --quiet --register=no --keep-unit --machine {container.name}"
        f" --directory bundle/rootfs --bind {folder}/volume:/volume"
        f" /bin/sh -ec {shlex.quote(container.inner)}"
    )


def bwrap(folder: Path, container: Container) -> Start:
    """bubblewrap, which knows no names."""
    return Start(
        "bwrap --unshare-pid --cap-add ALL --bind bundle/rootfs / --proc /proc --dev /dev"
        f" --bind {folder}/volume /volume /bin/sh -ec {shlex.quote(container.inner)}"
    )


@dataclass(frozen=True)
class Runtime:
    """How a runtime is started, the commands that this takes, and the propagations that it knows.

    LXC, systemd-nspawn and bubblewrap make slaves of all mounts, whatever they are told.
    """

    start: Starter
    commands: tuple[str, ...]
    propagations: tuple[str, ...] = ("rprivate", "rslave", "rshared")


_PODMAN = ("busybox", "podman", "conmon")

RUNTIMES = {
    "runc": Runtime(oci("runc"), ("busybox", "runc")),
    "crun": Runtime(oci("crun"), ("busybox", "crun")),
    "crun-no-cgroups": Runtime(oci("crun --cgroup-manager disabled"), ("busybox", "crun")),
    "podman": Runtime(podman("runc"), (*_PODMAN, "runc")),
    "podman-no-cgroups": Runtime(podman("crun", "--cgroups disabled"), (*_PODMAN, "crun")),
    "containerd": Runtime(containerd, ("busybox", "containerd", "ctr", "runc")),
    "docker": Runtime(docker, ("busybox", "dockerd", "docker", "containerd", "runc")),
    "lxc": Runtime(lxc, ("busybox", "lxc-start"), ("rslave",)),
    "nspawn": Runtime(nspawn, ("busybox", "systemd-nspawn"), ("rslave",)),
    "bwrap": Runtime(bwrap, ("busybox", "bwrap"), ("rslave",)),
}


def daemon(command: str, until: str) -> str:
    """Start a daemon as $daemon, and wait until it answers or has died."""
    return f"""{command} >daemon.log 2>&1 & daemon=$!
until {until} >answer.log 2>&1; do
  kill -0 $daemon || {{ cat daemon.log; exit 1; }}
  sleep .05
done
"""


# ---- where they are started

ENTER = """
for cgroup in $CGROUPS; do echo $$ >$cgroup/cgroup.procs; done
exec unshare --cgroup sh -e inside.sh
"""

# Of a hybrid machine's hierarchies those of version 1: crun takes no mixture. A cgroup of version 2
# that has processes gives its children no controllers, so there they go into one of their own.
OWN_CGROUPS = """
umount --recursive /sys/fs/cgroup
if grep -q '^[1-9]' /proc/self/cgroup; then
  mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
  sed -n 's/^[1-9][0-9]*:\\([^:]*\\):.*/\\1/p' /proc/self/cgroup | while read -r controllers; do
    place=/sys/fs/cgroup/${controllers#name=}
    mkdir "$place"
    case $controllers in name=*) controllers=none,$controllers ;; esac
    mount -t cgroup -o "$controllers" cgroup "$place"
  done
else
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mkdir /sys/fs/cgroup/init
  echo $$ >/sys/fs/cgroup/init/cgroup.procs
fi
"""

# Two mounts: runc makes the one that holds the root file system private in the container.
OWN_FOLDERS = """
for folder in /run /var/lib; do mount -t tmpfs -o mode=755 own $folder; done
mkdir -p tmp volume; export TMPDIR=$PWD/tmp
mount --bind bundle bundle; mount --make-private bundle
mount -t tmpfs --make-shared volume volume
daemon=
"""

LEAVE = """
[ -z "$daemon" ] || { kill $daemon; wait $daemon || true; }
"""


def script(runtime: str | Starter, folder: Path, container: Container, body: str) -> str:
    """A script for `in_namespace`, with CGROUPS in its environment; `folder` is the test's.

    In it `body` runs with `sh -e`, where `sh -ec "$CONTAINER"` starts the container and ends when
    the container does.
    """
    make_rootfs(folder / "bundle/rootfs")
    starter = RUNTIMES[runtime].start if isinstance(runtime, str) else runtime
    start = starter(folder, container)
    export = f"export CONTAINER={shlex.quote(start.run)}\n"
    inside = [OWN_CGROUPS, OWN_FOLDERS, start.prepare, export, body, LEAVE]
    (folder / "inside.sh").write_text("\n".join(inside))
    return ENTER


@contextlib.contextmanager
def own_cgroups() -> Iterator[str]:
    """Cgroups of a test's own, one a hierarchy; in the end all processes in them are killed.

    That ends what daemons have left in sessions of their own, even where the test timed out.
    """
    own = [place / f"mnttrace-test-{os.getpid()}" for place in _hierarchies()]
    try:
        for cgroup in own:
            cgroup.mkdir()
            for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 gives a new one none
                if (cgroup / setting).exists() and not (cgroup / "cgroup.controllers").exists():
                    (cgroup / setting).write_text((cgroup.parent / setting).read_text())
        yield " ".join(map(str, own))
    finally:
        _remove(own)


def _hierarchies() -> list[Path]:
    def mounted() -> list[Path]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [Path(line.split()[4]) for line in lines if " - cgroup" in line]

    if not mounted():  # on a machine without an init; this is the tests' own mount namespace
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    return mounted()


def _remove(cgroups: list[Path]) -> None:
    end = time.monotonic() + 10
    while True:
        left = [Path(place) for cgroup in cgroups for place, _, _ in os.walk(cgroup, topdown=False)]
        for cgroup in left:
            try:
                for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                cgroup.rmdir()
            except FileNotFoundError:
                continue  # its runtime was quicker
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or time.monotonic() > end:
                    raise
        if not left:
            return
        time.sleep(0.01)
