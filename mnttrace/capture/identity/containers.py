# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What container runtimes keep in files about their containers: which run, and their names.

Nothing is asked over a socket. All that is read here was written by somebody else: a file is read
up to a limit and only if it is a regular one, what is no JSON of the expected shape counts as not
there, and a text becomes part of a path only where it is a plain file name.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from mnttrace.capture.identity.hints import ContainerHint

_LARGEST = 4 << 20  # bytes of a file; the largest, podman's list, has some 700 a container
_LARGEST_RECORD = 1 << 18  # runc's are 6 to 30 KB
_MOST_RECORDS = 4096  # in a folder
_MOST_FOREIGN = 128  # in one that another user than root can fill
_LONGEST = 1024  # characters of a text

_NAME = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}"
)  # runc's rule but for a leading "." or "-"

_T = TypeVar("_T")


def head(path: str, limit: int) -> bytes:
    """The first bytes of a regular file; b"" if it is none, is gone or cannot be read."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK)  # a fifo must not make this wait
        with open(descriptor, "rb") as file:
            return file.read(limit) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except (OSError, ValueError):  # ValueError: a path with a NUL or a lone surrogate
        return b""


def _json(path: str, largest: int = _LARGEST) -> Any:
    return _parsed(head(path, largest))  # a larger one is cut, so no JSON


def _parsed(data: Any) -> Any:
    try:
        return json.loads(data)
    except (TypeError, ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    r"""Text out of JSON, "" if it is none; a lone surrogate, which JSON can spell, as \uNNNN."""
    if not isinstance(value, str):
        return ""
    return value[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _first(*values: Any) -> str:
    return next(filter(None, map(_text, values)), "")


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


class _Cache:
    """What was made of files, for as long as these stay as they were."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, int, int], Any]] = {}

    def get(self, path: str, make: Callable[[str], _T]) -> _T | None:
        """What `make` says of a file, asked anew if it changed; None for no file."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        key = found.st_mtime_ns, found.st_size, found.st_ino
        kept = self._kept.get(path)
        if kept is None or kept[0] != key:
            kept = self._kept[path] = key, make(path)
        value: _T = kept[1]
        return value

    def keep_only(self, paths: set[str]) -> None:
        """Forget all other files."""
        for path in self._kept.keys() - paths:
            del self._kept[path]


# ---- which run


class Record(NamedTuple):
    """A running container in a runtime's own records.

    Attributes:
        pid: its first process.
        start: that process's start time as in /proc/PID/stat, 0 if not told.
        hint: which container it is.
        cgroups: paths that end with those of its cgroups.
        foreign: another user than root can write the record.
    """

    pid: int
    start: int
    hint: ContainerHint
    cgroups: tuple[str, ...] = ()
    foreign: bool = False


_FOLDERS = (  # each has a folder a container; those of root first
    ("run", "runc"),
    ("run", "crun"),
    ("run", "docker", "runtime-*", "*"),
    ("run", "containerd", "runc", "*"),
    ("run", "user", "*", "runc"),
    ("run", "user", "*", "crun"),
)


class Records:
    """The records of running containers under a root directory."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._cache = _Cache()

    def __iter__(self) -> Iterator[Record]:
        """All of them; only records that have changed are read again."""
        seen: set[str] = set()
        for folder, foreign in self._folders():
            for file, make in (("state.json", _runc_record), ("status", _crun_record)):
                seen.add(f"{folder}/{file}")
                record = self._cache.get(f"{folder}/{file}", make)
                if record:
                    yield record._replace(foreign=foreign)
                    break
        machines = f"{self._root}/run/systemd/machines"
        for name in _names(machines):
            seen.add(f"{machines}/{name}")
            record = self._cache.get(f"{machines}/{name}", _machine_record)
            if record:
                yield record
        self._cache.keep_only(seen)

    def _folders(self) -> Iterator[tuple[str, bool]]:
        """The folders of containers, and whether another user than root can write in them."""
        for parts in _FOLDERS:
            foreign = "user" in parts
            for folder in _matching(self._root, parts):
                for name in _names(folder, _MOST_FOREIGN if foreign else _MOST_RECORDS):
                    yield f"{folder}/{name}", foreign


def _names(folder: str, most: int = _MOST_RECORDS) -> list[str]:
    """The plain names in a folder, [] if there is none; whether they are folders shows in use."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, most) if _NAME.fullmatch(entry.name)]
    except (OSError, ValueError):
        return []


def _matching(root: str, parts: Sequence[str]) -> list[str]:
    """The folders that fit parts, of which only a last "*" is special."""
    found = [root]
    for part in parts:
        if part.endswith("*"):
            found = [
                f"{folder}/{name}"
                for folder in found
                for name in _names(folder)
                if name.startswith(part[:-1])
            ]
        else:
            found = [f"{folder}/{part}" for folder in found]
    return found


def _runc_record(path: str) -> Record | None:
    """runc's state.json (libcontainer: State in container_linux.go)."""
    state = _object(_json(path, _LARGEST_RECORD))
    pid = _number(state.get("init_process_pid"))
    labels = map(_text, _list(_object(state.get("config")).get("labels")))
    bundle = next((label[7:] for label in labels if label.startswith("bundle=/")), "")
    cgroups = tuple(map(_text, islice(_object(state.get("cgroup_paths")).values(), 16)))
    hint = ContainerHint("runc", _folder(path), bundle=bundle)
    return Record(pid, _number(state.get("init_process_start")), hint, cgroups) if pid else None


def _crun_record(path: str) -> Record | None:
    """crun's status (libcrun: status.c)."""
    state = _object(_json(path, _LARGEST_RECORD))
    pid = _number(state.get("pid"))
    bundle = _text(state.get("bundle"))
    hint = ContainerHint("crun", _folder(path), bundle=bundle if bundle.startswith("/") else "")
    cgroups = (_text(state.get("cgroup-path")),)
    return Record(pid, _number(state.get("process-start-time")), hint, cgroups) if pid else None


def _folder(path: str) -> str:
    return path.split("/")[-2]


def _machine_record(path: str) -> Record | None:
    """What systemd-machined keeps of a machine: lines of KEY=VALUE (machine_save, machine.c)."""
    lines = os.fsdecode(head(path, _LARGEST_RECORD)).split("\n")
    said = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    pid = said.get("LEADER", "")
    if said.get("CLASS") != "container" or not re.fullmatch(r"[0-9]{1,10}", pid, re.ASCII):
        return None
    return Record(int(pid), 0, ContainerHint(said.get("SERVICE", ""), name=path.rpartition("/")[2]))


# ---- their names


class Details(NamedTuple):
    """What is known about a container; the fields as in `identity.Identity`."""

    runtime: str
    name: str
    image: str = ""
    pod: str = ""
    pod_namespace: str = ""
    pod_container: str = ""
    pod_uid: str = ""


_CONTAINERD = ("run/docker/containerd/daemon", "run/containerd", "run/k3s/containerd")
_TASKS = "io.containerd.runtime.v2.task"  # then /NAMESPACE/ID; docker's namespace is moby
_STORAGES = tuple(  # of containers/storage, that is of podman and CRI-O
    f"{place}/containers/storage/{driver}-containers"
    for place in ("var/lib", "run")
    for driver in ("overlay", "vfs")
)

# In annotations of containerd's CRI plugin (its pkg/cri/annotations); and in CRI-O's annotations
# and docker's labels, which have the kubelet's (kubernetes, pkg/kubelet/types/labels.go).
_KUBERNETES = {
    "pod": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    "pod_namespace": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    "pod_container": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
    "pod_uid": ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
}
_IMAGES = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")


class Containers:
    """What the runtimes under a root directory say about a container."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._cache = _Cache()

    def describe(self, hint: ContainerHint) -> Details:
        """The names of a claimed container, and its runtime by the name that a user knows."""
        hex_id = re.fullmatch(r"[0-9a-f]{64}", hint.id)
        name = hint.name or (hint.id[:12] if hex_id else hint.id)
        plain = Details(hint.runtime, name, pod_uid=hint.pod_uid)
        if hint.runtime == "lxc":
            return plain._replace(name=self._lxc_name(name))
        if not _NAME.fullmatch(hint.id):
            return plain
        bundle = hint.bundle
        if not bundle and (hex_id or hint.runtime == "containerd"):  # others' ids may be the same
            bundle = self._bundle(hint.id)
        if hint.runtime == "docker" or f"/{_TASKS}/moby/" in bundle:
            return self._docker(hint.id, bundle, plain._replace(runtime="docker"))
        if hint.runtime == "podman":
            return self._podman(hint.id, bundle, plain)
        config = _object(_json(f"{bundle}/config.json")) if bundle else {}
        notes = _object(config.get("annotations"))
        manager = notes.get("io.container.manager")
        if manager == "libpod":
            return self._podman(hint.id, bundle, plain._replace(runtime="podman"))
        if manager == "cri-o":
            plain = plain._replace(runtime="cri-o")
        elif f"/{_TASKS}/" in bundle:
            plain = plain._replace(runtime="containerd")
        return _with_pod(notes, plain._replace(name=_first(notes.get("nerdctl/name"), name)))

    def have_one_shim(self, one: ContainerHint, other: ContainerHint) -> bool:
        """Whether what a shim's command line names is of the same containerd as another container.

        All containers of a pod have one shim, which has the id of the pod's own.
        """
        if (
            one.runtime != "containerd"
            or not _NAME.fullmatch(one.id)
            or not _NAME.fullmatch(other.id)
        ):
            return False
        tasks, _, _ = self._bundle(one.id).rpartition("/")
        return f"/{_TASKS}/" in tasks and os.path.isdir(f"{tasks}/{other.id}")

    def _bundle(self, id: str) -> str:
        """Where the bundle of a container with this id is, "" if nowhere."""
        for place in _CONTAINERD:
            tasks = f"{self._root}/{place}/{_TASKS}"
            for namespace in _names(tasks):
                if os.path.isdir(f"{tasks}/{namespace}/{id}"):
                    return f"{tasks}/{namespace}/{id}"
        for storage in _STORAGES:
            bundle = f"{self._root}/{storage}/{id}/userdata"
            if os.path.isfile(f"{bundle}/config.json"):
                return bundle
        return ""

    def _docker(self, id: str, bundle: str, plain: Details) -> Details:
        path = f"{self._root}/var/lib/docker/containers/{id}/config.v2.json"
        found = _object(_json(path)) or self._docker_elsewhere(id, bundle)
        config = _object(found.get("Config"))
        name = _text(found.get("Name")).lstrip("/") or plain.name
        image = _text(config.get("Image"))
        return _with_pod(_object(config.get("Labels")), plain._replace(name=name, image=image))

    def _docker_elsewhere(self, id: str, bundle: str) -> dict[str, Any]:
        """Docker's file under another --data-root: it lies beside the container's /etc/hostname."""
        mounts = _object(_json(f"{bundle}/config.json")).get("mounts") if bundle else None
        for mount in _list(mounts):
            source = _object(mount).get("source")
            if isinstance(source, str) and source.endswith(f"/containers/{id}/hostname"):
                return _object(_json(f"{os.path.dirname(source)}/config.v2.json"))
        return {}

    def _podman(self, id: str, bundle: str, plain: Details) -> Details:
        usual = [f"{self._root}/{storage}/containers.json" for storage in _STORAGES]
        own = [f"{os.path.dirname(os.path.dirname(bundle))}/containers.json"] if bundle else []
        for path in dict.fromkeys(own + usual):
            # Of the lists that a user can have anywhere, none is kept in memory.
            listed = self._cache.get(path, _storage_list) if path in usual else _storage_list(path)
            if listed and id in listed:
                name, image = listed[id]
                return plain._replace(name=name or plain.name, image=image)
        return plain

    def _lxc_name(self, name: str) -> str:
        """LXC adds -1, -2... to a cgroup's name where a stale one is in the way."""
        stem, _, number = name.rpartition("-")
        homes = f"{self._root}/var/lib/lxc"
        if not (number.isdigit() and _NAME.fullmatch(stem)) or os.path.isdir(f"{homes}/{name}"):
            return name
        return stem if os.path.isdir(f"{homes}/{stem}") else name


def _storage_list(path: str) -> dict[str, tuple[str, str]]:
    """Id → (name, image) in a list of containers/storage (containers.go there)."""
    found = {}
    for entry in map(_object, _list(_json(path))):
        metadata = _object(_parsed(entry.get("metadata")))
        name = _first(*_list(entry.get("names"))[:1])
        found[_text(entry.get("id"))] = name, _text(metadata.get("image-name"))
    return found


def _with_pod(notes: dict[str, Any], plain: Details) -> Details:
    """Details with what annotations or labels tell of a pod; the name is then NAMESPACE/POD/NAME.

    The container that holds a pod's namespaces has no name of its own: none, or "POD".
    """
    found = {field: _first(*map(notes.get, keys)) for field, keys in _KUBERNETES.items()}
    if found["pod_container"] == "POD":
        found["pod_container"] = ""
    found["pod_uid"] = found["pod_uid"] or plain.pod_uid
    parts = filter(None, (found["pod_namespace"], found["pod"], found["pod_container"]))
    name = "/".join(parts) if found["pod"] else plain.name
    image = _first(*map(notes.get, _IMAGES)) or plain.image
    return plain._replace(**found, name=name, image=image)
