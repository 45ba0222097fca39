# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Remedies as lines: the commands, what else they take, and what would be refused."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.commands import Command, EndNamespace, RemoveDirectory, Umount
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
from mnttrace.analysis.diagnosis.remedies import Remedy, Trial
from mnttrace.analysis.model.mounts import Mount
from mnttrace.report.commands import line, quoted
from mnttrace.report.names import inode, title
from mnttrace.report.text import count, safe

_NAMED = 4  # other mounts that go along


class Remedies:
    """Writes remedies of one recording.

    Args:
        diagnosis: of the recording.
        imported: whether its pids mean nothing here.
    """

    def __init__(self, diagnosis: Diagnosis, imported: bool) -> None:
        self._diagnosis = diagnosis
        self._imported = imported

    def lines(self, remedy: Remedy) -> Iterator[str]:
        """What to do now, line by line; commands begin with four spaces."""
        if not remedy.trial.commands:
            yield "What to do now: no command takes it away, as far as the mount tables tell."
        else:
            yield "What to do now:"
            yield from self._way(remedy.trial)
        for other in remedy.others:
            yield "  or:"
            yield from self._way(other)
        for refused in remedy.refused:
            reason = f"{refused.errno}: {refused.reason}"
            yield f"  not: {self.command(refused.command)}  # {reason}"
        if remedy.left and remedy.trial.commands:
            yield f"  {count(len(remedy.left), 'mount')} more stay: ask again afterwards"

    def _way(self, trial: Trial) -> Iterator[str]:
        for command in trial.commands:
            yield f"    {self.command(command)}"
        ends = any(isinstance(one, EndNamespace) for one in trial.commands)
        if trial.also_gone and not ends:
            yield f"    # it also takes {self._mounts(trial.also_gone)}"
        if trial.cut_off:
            yield f"    # cut off from their peers: {self._mounts(trial.cut_off)}"

    def command(self, command: Command) -> str:
        """One command, for a shell."""
        if isinstance(command, EndNamespace):
            return self._end(command)
        if command.ns == self._diagnosis.home:
            caution = "  # if it is empty" if isinstance(command, RemoveDirectory) else ""
            return line(command, None) + caution
        process = self._process(command.ns)
        if process is None:
            which = inode(self._namespace(command.ns).get("ns")) or "the namespace"
            return f"# find what keeps {which} alive, and end it: it has no process"
        return line(command, process) + self._restart(command)

    def there(self, words: Sequence[str], ns_id: int | None) -> str:
        """A command of util-linux for a namespace; None: the one where it is given.

        Args:
            words: the program and its arguments.
            ns_id: the namespace.
        """
        program, *rest = map(quoted, words)
        if ns_id is None:
            return " ".join([program, *rest])
        if ns_id == self._diagnosis.home:
            return " ".join([program, *rest, " # on the host"])
        process = self._process(ns_id)
        if process is None:
            return " ".join([program, *rest, f" # in mnt:[{self._namespace(ns_id).get('ns')}]"])
        return " ".join([program, "-N", process, *rest])

    def _process(self, ns: object) -> str | None:
        """A process of a namespace, as a word; None if there is none."""
        row = self._namespace(ns)
        if self._imported and not row.get("pid"):
            return f'"$(pidof {shlex.quote(safe(row.get("name") or "?"))})"'
        return str(row["pid"]) if row.get("pid") else None

    def _restart(self, command: Command) -> str:
        row = self._namespace(command.ns)
        if row.get("kind") != "unit" or not isinstance(command, Umount):
            return ""
        return f"  # or: systemctl restart {shlex.quote(safe(row.get('name') or '?'))}"

    def _end(self, command: EndNamespace) -> str:
        row = self._namespace(command.ns)
        if row.get("kind") in ("container", "unit"):
            return f"# stop {row['kind']} {title(row)}: all its mounts go with it"
        where = inode(row.get("ns")) or "its mount namespace"
        what = f"{safe(row.get('name') or '?')} and what else runs in {where}"
        return f"# end {what}: all its mounts go with it"

    def _mounts(self, mounts: Iterable[Mount]) -> str:
        listed = list(mounts)
        texts = [self._mount(mount) for mount in listed[:_NAMED]]
        more = len(listed) - _NAMED
        return ", ".join(texts) + (f" and {more} more" if more > 0 else "")

    def _mount(self, mount: Mount) -> str:
        tables = self._diagnosis.now.tables
        facts = self._diagnosis.now.facts.get(mount.id, {})
        what = f"{safe(facts.get('fstype') or '?')} {safe(facts.get('source') or '?')}"
        where = f"{what} at {safe(tables.path(mount.id))}"
        return f"{where} in {title(self._namespace(mount.ns))}"

    def _namespace(self, ns: object) -> Row:
        return self._diagnosis.namespaces.get(ns, {}) if isinstance(ns, int) else {}
