# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Scenarios as steps, of which each is one recorded operation: to do them again, changed.

A step is the name of a namespace, and what is done in it: a command; "new", which makes it as a
copy of the host's; "end".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mnttrace.analysis.diagnosis.commands import Command, EndNamespace
from mnttrace.analysis.diagnosis.otherwise import Left, Otherwise
from mnttrace.analysis.diagnosis.rerun import ITSELF, Changes
from mnttrace.linux.mountinfo import parse
from mnttrace.report.commands import line
from tests.kernel.recordings import Recorded

Step = tuple[str, str]
Mounts = Counter[tuple[str, str, str, str, str]]  # namespace, mount point, root, type, source

_WORKER = """
exec 3<>$1.do 4<>$1.done
echo 0 >&4
while read -r file <&3; do sh "$file" >>output 2>&1; echo $? >&4; done
"""
_FUNCTIONS = """
tell() { echo "$2" >$1.do; read -r status <$1.done; }
new() {
    mkfifo $1.do $1.done
    unshare -m --propagation unchanged sh worker $1 & echo $! >$1.pid
    read -r status <$1.done
}
end() { kill $(cat $1.pid); wait $(cat $1.pid) || :; rm $1.do $1.done; }
"""


class Scenario:
    """Steps, recorded once, and done again as often as one likes.

    Args:
        in_namespace: the fixture.
        folder: that it runs in.
        steps: paths in them are below `{d}`.
        before: what is done before the recording.
    """

    def __init__(
        self,
        in_namespace: Callable[..., Any],
        folder: Path,
        steps: Iterable[Step],
        before: str = "",
    ) -> None:
        self._in_namespace = in_namespace
        self._folder = folder
        self._before = before
        self.steps = [(ns, what.format(d=folder)) for ns, what in steps]
        self._file(self.steps)
        (folder / "worker").write_text(_WORKER)
        in_namespace(
            f"{self._prepared()}\n$MNTTRACE record -o run.mnttrace -- sh -e script\n. ./finish"
        )
        self.recorded = Recorded(folder, "")
        self.run = self.recorded.run
        self.mounts = self._tables(self.steps)
        ended = [step for step in self.steps if step[1] != "end"]
        rows = sorted(self.recorded.rows("operations"), key=lambda row: row["seq"])
        assert len(rows) == len(ended), [(row["seq"], row["syscall"], row["path"]) for row in rows]
        self.by_seq = {row["seq"]: step for row, step in zip(rows, ended, strict=True)}
        made = [row for row in rows if row["syscall"] == "unshare"]
        names = [ns for ns, what in self.steps if what == "new"]
        self.names = {self.recorded.home: "host"} | {
            row["ns_target_id"]: name for row, name in zip(made, names, strict=True)
        }

    def changed(self, changes: Changes) -> Mounts:
        """The mounts at the end if it is done otherwise."""
        steps = list(self._changed(changes))
        self._file(steps)
        self._in_namespace(f"{self._prepared()}\nsh -e script\n. ./finish")
        return self._tables(steps)

    def promised(self, otherwise: Otherwise) -> Mounts:
        """The mounts that there would be at the end."""
        found = Counter(self.mounts)
        found.subtract(map(self._key, otherwise.gone))
        found.update(map(self._key, otherwise.more))
        assert min(found.values()) >= 0, otherwise
        return +found

    def _key(self, one: Left) -> tuple[str, str, str, str, str]:
        files = self.run.diagnosis.file_systems.get(one.mount.device, {})
        ns = self.names[one.mount.ns]  # type: ignore[index]
        return ns, one.path, one.mount.root, files.get("fstype", ""), files.get("source", "")

    def _prepared(self) -> str:
        return f"rm -rf *.do *.done *.table; {self._before.format(d=self._folder)}"

    def _changed(self, changes: Changes) -> Iterator[Step]:
        seqs = iter(self.by_seq)
        for step in self.steps:
            if step[1] == "end":
                yield step
                continue
            for command in changes.get(next(seqs), (ITSELF,)):
                yield step if command is ITSELF else self._step(command)

    def _step(self, command: Command) -> Step:
        assert not isinstance(command, EndNamespace)
        return self.names[command.ns], line(command, None)  # type: ignore[index]

    def _file(self, steps: Iterable[Step]) -> None:
        """Write the script."""
        text = [_FUNCTIONS]
        living = []
        for number, (ns, what) in enumerate(steps):
            if what in ("new", "end"):
                text.append(f"{what} {ns}")
                living = [*living, ns] if what == "new" else [one for one in living if one != ns]
                continue
            (self._folder / f"step.{number}").write_text(what + "\n")
            text.append(
                f"sh step.{number} >>output 2>&1 || :"
                if ns == "host"
                else f"tell {ns} step.{number}"
            )
        for ns in living:
            (self._folder / f"look.{ns}").write_text(f"cat /proc/self/mountinfo >{ns}.table\n")
            text.append(f"tell {ns} look.{ns}")
        text.append("cat /proc/self/mountinfo >host.table")
        ends = [_FUNCTIONS, *(f"end {ns}" for ns in living)]
        (self._folder / "finish").write_text("\n".join(ends) + "\n")
        (self._folder / "script").write_text("\n".join(text) + "\n")

    def _tables(self, steps: Iterable[Step]) -> Mounts:
        """What the script saved, without what was there before it."""
        living = {"host"}
        for ns, what in steps:
            if what == "new":
                living.add(ns)
            elif what == "end":
                living.discard(ns)
        return Counter(
            (ns, mount.mountpoint, mount.root, mount.fstype, mount.source)
            for ns in living
            for mount in parse((self._folder / f"{ns}.table").read_text(), ns)
        )
