# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the text of a cgroup or a command line says about the container that a process is of.

Pure functions on text that others have written: it can hint anything, and is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class ContainerHint(NamedTuple):
    """That something belongs to a container, as a cgroup, a runtime's record or an argument says.

    `runtime` may be that of a lower level than the one that a user knows, "" if it is not told;
    `bundle` is the container's OCI bundle, a folder with a config.json, "" if it is not told.
    """

    runtime: str
    id: str = ""
    name: str = ""
    bundle: str = ""
    pod_uid: str = ""


# ---- cgroups

_ID = r"(?P<id>[0-9a-f]{64})"
# One part of a path: "ID", "docker-ID.scope", "libpod-ID", and "X.slice:cri-containerd:ID" where
# a name for systemd went to the cgroup file system.
_PART = re.compile(rf"(?:(?P<engine>[\w.-]+)-)?{_ID}(?:\.scope)?")
_UNPARSED = re.compile(rf"(?P<slice>[\w.-]+):(?P<engine>[\w.-]+):{_ID}")
_SCOPE = re.compile(r"(?P<engine>runc|crun)-(?P<id>.+)\.scope")  # an id that a person chose
_ENGINES = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",  # --cgroups=split
    "crio": "cri-o",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
}
# What watches over a container is not in its namespace, and has a cgroup of its own: beside the
# container's, or below that of the pod or machine.
_WATCHER = re.compile(r".*-conmon-.*|(?P<below>conmon|supervisor)")
_POD = re.compile(
    r"(?:.*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)
_MACHINE = re.compile(r"machine-(.+)\.scope|systemd-nspawn@(.+)\.service")
_UNIT = re.compile(r".+\.(?:service|scope|socket|mount|swap)")


def cgroup_paths(text: str) -> list[str]:
    """The different paths in a /proc/PID/cgroup, those that systemd keeps first; or a lone path.

    Its lines are `ID:CONTROLLERS:PATH`, one a hierarchy: of version 2 `0::PATH`, of version 1
    among others `N:name=systemd:PATH` (cgroups(7)).
    """
    by_systemd: list[str] = []
    others: list[str] = []
    for line in text.split("\n"):
        fields = ["", "", line] if line.startswith("/") else line.split(":", 2)
        if len(fields) == 3:
            paths = by_systemd if fields[1] in ("", "name=systemd") else others
            paths.append(fields[2].removesuffix(" (deleted)"))
    return list(dict.fromkeys(by_systemd + others))


def unit_of_cgroups(paths: Sequence[str]) -> str:
    """The innermost systemd unit of cgroup paths that holds processes, as systemd spells it."""
    for path in paths:
        for part in reversed(path.split("/")):
            if _UNIT.fullmatch(part):
                return part
    return ""


def hint_of_cgroups(paths: Sequence[str]) -> ContainerHint | None:
    """The innermost container that a cgroup path names; of several paths, the deepest one."""
    found = max(map(_hint_of_path, paths), key=lambda found: found[0], default=(-1, None))
    return found[1]


def _hint_of_path(path: str) -> tuple[int, ContainerHint | None]:
    """(depth, container) of one path; depth -1 and None where it names none."""
    parts = path.split("/")
    at = len(parts) - 1
    while at >= 0:
        watcher = _WATCHER.fullmatch(parts[at])
        hint = None if watcher else _hint_of_part(parts, at)
        if hint:
            return at, hint
        at -= 2 if watcher and watcher["below"] else 1
    return -1, None


def _hint_of_part(parts: Sequence[str], at: int) -> ContainerHint | None:
    part, parent = parts[at], parts[at - 1] if at else ""
    match = _PART.fullmatch(part) or _UNPARSED.fullmatch(part)
    if match:
        slices = [match["slice"]] if match.re is _UNPARSED else parts[:at]
        uid = next((pod[1] for pod in map(_POD.fullmatch, reversed(slices)) if pod), "")
        engine = match["engine"] or ("docker" if parent == "docker" else "")
        if not engine and any("kubepods" in part for part in slices):
            engine = "kubernetes"
        runtime = _ENGINES.get(engine, engine)
        return ContainerHint(runtime, match["id"], pod_uid=uid.replace("_", "-"))
    if part.startswith("lxc.payload.") or parent in ("lxc", "lxc.payload"):
        return ContainerHint("lxc", name=part.removeprefix("lxc.payload.")) if part else None
    if parent == "buildkit" and part:
        return ContainerHint("buildkit", part)
    match = _SCOPE.fullmatch(part)
    if match:
        return ContainerHint(match["engine"], match["id"])
    match = _MACHINE.fullmatch(part)
    return _machine(_unescaped(match[1] or match[2])) if match else None


def _machine(name: str) -> ContainerHint | None:
    """The container of a machine's unit; libvirt names its own qemu-N-NAME and lxc-N-NAME."""
    if name.startswith("qemu-"):
        return None
    libvirt = re.fullmatch(r"lxc-\d+-(.+)", name)
    return (
        ContainerHint("lxc", name=libvirt[1])
        if libvirt
        else ContainerHint("systemd-nspawn", name=name)
    )


def _unescaped(text: str) -> str:
    r"""A part of a unit's name without systemd's escapes, such as \x2d for "-"."""
    return re.sub(r"\\x([0-7][0-9a-f])", lambda match: chr(int(match[1], 16)), text)


# ---- command lines

# The options of runc and crun before the subcommand that take a value (their --help).
_RUNTIME_VALUES = {"--log", "--log-format", "--root", "--criu", "--rootless", "--cgroup-manager"}
_STARTING = {"create", "run", "start", "restore"}

# How many values the options of bwrap(1) take; all others take one.
_BWRAP_VALUES = {
    0: re.compile(
        "--(?:unshare-.+|share-net|disable-userns|assert-userns-disabled|clearenv|new-session"
        "|die-with-parent|as-pid-1)"
    ),
    2: re.compile("--(?:setenv|(?:dev-|ro-)?bind(?:-try|-fd|-data)?|file|symlink|chmod)"),
    3: re.compile("--overlay"),
}

# They make the namespace in a child that runs on without an exec: its command line is theirs.
FORKING = frozenset({"bwrap", "systemd-nspawn", "lxc-start", "lxc-execute"})


def program(command: Sequence[str]) -> str:
    """The name of the program that a command line starts, "" for none."""
    return command[0].rpartition("/")[2] if command else ""


def hint_of_command(command: Sequence[str]) -> ContainerHint | None:
    """The container that a process makes or watches over, by its command line.

    Known are conmon, containerd's shims, runc and crun (as they create or start), the LXC tools,
    systemd-nspawn and bubblewrap.
    """
    name = program(command)
    arguments = command[1:]
    if name == "conmon":
        return _conmon(arguments)
    if name.startswith("containerd-shim"):
        engine = "docker" if _option(arguments, "-namespace") == "moby" else "containerd"
        return _hint(engine, id=_option(arguments, "-id"))
    if name in ("runc", "crun"):
        return _oci_runtime(name, arguments)
    if command and command[0].startswith("[lxc monitor] "):  # then its folder and NAME
        return _hint("lxc", name=command[0].rpartition(" ")[2])
    if name == "bwrap":
        return _hint("bubblewrap", name=program(_bwrap_command(arguments)) or name)
    if name in FORKING:
        own = list(arguments)
        own = own[: own.index("--")] if "--" in own else own
        if name == "systemd-nspawn":
            root = _option(own, "-D", "--directory", "-i", "--image").rstrip("/").rpartition("/")[2]
            return _hint(name, name=_option(own, "-M", "--machine") or root or name)
        return _hint("lxc", name=_option(own, "-n", "--name"))
    return None


def _hint(runtime: str, *, id: str = "", name: str = "", bundle: str = "") -> ContainerHint | None:
    if not (id or name):
        return None
    return ContainerHint(runtime, id, name, bundle if bundle.startswith("/") else "")


def _option(arguments: Sequence[str], *names: str) -> str:
    """The value of the first of these options that is there: "-n X", "--name X", "--name=X"."""
    for at, argument in enumerate(arguments):
        if argument in names:
            return arguments[at + 1] if at + 1 < len(arguments) else ""
        name, equals, value = argument.partition("=")
        if equals and name.startswith("--") and name in names:
            return value
    return ""


def _conmon(arguments: Sequence[str]) -> ContainerHint | None:
    crio = any("/crio" in argument for argument in arguments)  # such as --exit-dir /run/crio/exits
    return _hint(
        "cri-o" if crio else "podman",
        id=_option(arguments, "-c", "--cid"),
        name="" if crio else _option(arguments, "-n", "--name"),  # CRI-O's is k8s_NAME_POD_...
        bundle=_option(arguments, "-b", "--bundle"),
    )


def _oci_runtime(runtime: str, arguments: Sequence[str]) -> ContainerHint | None:
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in _RUNTIME_VALUES else 1
    own = arguments[at:]  # such as create --bundle FOLDER ID
    if len(own) < 2 or own[0] not in _STARTING or own[-1].startswith("-"):
        return None
    return _hint(runtime, id=own[-1], bundle=_option(own, "-b", "--bundle"))


def _bwrap_command(arguments: Sequence[str]) -> Sequence[str]:
    at = 0
    while at < len(arguments) and arguments[at].startswith("--"):
        if arguments[at] == "--":
            return arguments[at + 1 :]
        option = arguments[at]
        at += 1 + next((n for n, of in _BWRAP_VALUES.items() if of.fullmatch(option)), 1)
    return arguments[at:]
