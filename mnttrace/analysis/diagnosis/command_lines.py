# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Commands as a person types them, read: mount, umount, pivot_root, rmdir, and ways to give these
in another mount namespace.

Options are those of util-linux, see mount(8), umount(8) and nsenter(1).
"""

from __future__ import annotations

import getopt
import itertools
import posixpath
import shlex
from collections.abc import Callable, Iterator
from typing import cast, get_args

from mnttrace.analysis.diagnosis.commands import (
    Bind,
    ChangeType,
    Command,
    MountFileSystem,
    Move,
    PivotRoot,
    RemoveDirectory,
    Umount,
)
from mnttrace.analysis.model.mounts import Namespace, PropagationType
from mnttrace.errors import BadInput

NamespaceOf = Callable[[str], Namespace]
DeviceOf = Callable[[str], str]

_MOUNT = "aBcfFhilL:mMnN:o:O:rRsT:t:U:vVw"
_MOUNT_LONG = ["bind", "rbind", "move", "types=", "options=", "namespace=", "source=", "target="]
_MOUNT_LONG += ["read-only", "rw", "read-write", "verbose", "no-mtab", "mkdir", "no-canonicalize"]
_UMOUNT = "aAcdfhilnN:O:qrRt:vV"
_UMOUNT_LONG = ["lazy", "recursive", "force", "namespace=", "verbose", "quiet", "no-mtab"]
_UMOUNT_LONG += ["detach-loop", "no-canonicalize", "read-only"]
_NSENTER = "+aCFimnprS:t:TuUw"
_NSENTER_LONG = ["target=", "mount", "all", "user", "pid", "net", "ipc", "uts", "cgroup"]
_TYPES = get_args(PropagationType)
_MAKE = {
    f"make-{'r' if recursive else ''}{type}": (type, recursive)
    for type in _TYPES
    for recursive in (False, True)
}
_KNOWN = "mount, umount, pivot_root, rmdir; sudo, nsenter -t PID -m, docker exec NAME before them"


def parse(
    text: str, ns: Namespace, namespace_of: NamespaceOf, device_of: DeviceOf
) -> list[Command]:
    """The commands of a line.

    Args:
        text: one or more, with `;` or `&&` between them; what is behind a `#` is left out.
        ns: the mount namespace that they are given in.
        namespace_of: the namespace of a pid or a name, for -N, nsenter and docker exec.
        device_of: the device number of a source such as /dev/sdb1; any other text for a new file
            system.

    Raises:
        BadInput: it is no such command, or one that changes no mount table.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found: list[Command] = []
    words: list[str] = []
    try:
        for word in lexer:
            if word in (";", "&&"):
                found += _Parser(text, namespace_of, device_of).command(words, ns)
                words = []
            else:
                words.append(word)
    except ValueError as error:
        raise BadInput(f"{text!r} is no command: {error}", _KNOWN) from error
    if words or not found:
        found += _Parser(text, namespace_of, device_of).command(words, ns)
    return found


class _Parser:
    """Reads one command."""

    def __init__(self, text: str, namespace_of: NamespaceOf, device_of: DeviceOf) -> None:
        self._text = text
        self._namespace_of = namespace_of
        self._device_of = device_of

    def command(self, words: list[str], ns: Namespace) -> Iterator[Command]:
        match words:
            case ["sudo", *rest]:
                yield from self.command(rest, ns)
            case ["docker" | "podman" | "nerdctl", "exec", *rest] if rest:
                name, *rest = itertools.dropwhile(lambda word: word.startswith("-"), rest)
                yield from self.command(rest, self._namespace_of(name))
            case ["nsenter", *rest]:
                options, rest = self._options(rest, _NSENTER, _NSENTER_LONG)
                pid = options.get("-t") or options.get("--target")
                if pid is None or not options.keys() & {"-m", "--mount", "-a", "--all"}:
                    raise self._wrong("nsenter needs -t PID and -m")
                yield from self.command(rest, self._namespace_of(pid))
            case ["mount", *rest]:
                yield from self._mount(rest, ns)
            case ["umount", *rest]:
                yield self._umount(rest, ns)
            case ["pivot_root", new_root, put_old]:
                yield PivotRoot(ns, self._path(new_root), self._path(put_old))
            case ["rmdir", *paths] if paths:
                for path in paths:
                    yield RemoveDirectory(ns, self._path(path))
            case _:
                raise self._wrong("no command that is known here")

    def _mount(self, words: list[str], ns: Namespace) -> Iterator[Command]:
        options, paths = self._options(words, _MOUNT, [*_MOUNT_LONG, *_MAKE])
        ns = self._namespace(options, ns)
        listed = [
            one for key in ("-o", "--options") for one in options.get(key, "").split(",") if one
        ]
        types = [_MAKE[key[2:]] for key in options if key[2:] in _MAKE]
        types += [_MAKE[f"make-{one}"] for one in listed if f"make-{one}" in _MAKE]
        asked = {key.lstrip("-") for key in options} | set(listed)
        if "remount" in asked:
            raise self._wrong("a remount changes options: no mount comes or goes")
        source, target = self._places(options, paths, bool(types))
        if asked & {"bind", "B", "rbind", "R"}:
            recursive = bool(asked & {"rbind", "R"})
            yield Bind(ns, self._path(source or ""), target, recursive)
        elif asked & {"move", "M"}:
            yield Move(ns, self._path(source or ""), target)
        elif source is not None and not (types and source == "none"):
            yield MountFileSystem(ns, target, source, self._device_of(source))
        for to, recursive in types:
            yield ChangeType(ns, target, cast(PropagationType, to), recursive)

    def _places(
        self, options: dict[str, str], words: list[str], alone: bool
    ) -> tuple[str | None, str]:
        """Source and target; `alone`: a target alone will do."""
        source, target = options.get("--source"), options.get("--target")
        rest = list(words)
        if target is None and rest:
            target = rest.pop()
        if source is None and rest:
            source = rest.pop()
        if target is None or rest or (source is None and not alone):
            raise self._wrong("it needs a source and a target")
        return source, self._path(target)

    def _umount(self, words: list[str], ns: Namespace) -> Command:
        options, paths = self._options(words, _UMOUNT, _UMOUNT_LONG)
        if not paths or options.keys() & {"-a", "-A"}:
            raise self._wrong("umount needs paths")
        return Umount(
            self._namespace(options, ns),
            tuple(map(self._path, paths)),
            lazy=bool(options.keys() & {"-l", "--lazy"}),
            recursive=bool(options.keys() & {"-R", "--recursive"}),
        )

    def _options(
        self, words: list[str], short: str, long: list[str]
    ) -> tuple[dict[str, str], list[str]]:
        try:
            options, rest = getopt.gnu_getopt(words, short, long)
        except getopt.GetoptError as error:
            raise self._wrong(error.msg) from error
        return dict(options), rest

    def _namespace(self, options: dict[str, str], ns: Namespace) -> Namespace:
        text = options.get("-N") or options.get("--namespace")
        return ns if text is None else self._namespace_of(text)

    def _path(self, text: str) -> str:
        if not text.startswith("/"):
            raise self._wrong(f"{text!r} is no path that begins with /")
        return posixpath.normpath(text)

    def _wrong(self, problem: str) -> BadInput:
        return BadInput(f"{self._text!r}: {problem}", f"known are {_KNOWN}")
