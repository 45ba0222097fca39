# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Remedies for random mounts in random tables, carried out by the kernel.

Whatever is printed is given to a shell: none of it may be refused, and it leaves the tables that it
promised. What it says would be refused is refused. MNTTRACE_MODEL_OPERATIONS says how many
operations there are to be between them.
"""

from __future__ import annotations

import subprocess
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from mnttrace.analysis.diagnosis.commands import (
    Command,
    EndNamespace,
    RemoveDirectory,
    Umount,
    carry_out,
    where,
)
from mnttrace.analysis.diagnosis.remedies import Remedy, Trial, find_remedy
from mnttrace.analysis.model.mounts import is_mounted
from mnttrace.report.commands import line
from tests.truth.harness import render
from tests.truth.test_model_at_random import Number, Operations, Where, run_at_random

pytestmark = pytest.mark.usefixtures("kernel_that_is_modelled")

HOME = "host"


class Question(NamedTuple):
    """A mount to be taken away, in a namespace, after something was mounted or bound there.

    Attributes:
        ns, which: the namespace, and the mount in it.
        others: with its copies in other namespaces.
        alone: without what is mounted on it.
        way: which of the ways that are printed is carried out.
        what, where: what is bound before, if `binds`, and where; else something new is mounted.
    """

    ns: int
    which: int
    others: bool
    alone: bool
    way: int
    what: tuple[int, str]
    where: tuple[int, str]
    binds: bool


Questions = st.lists(
    st.builds(
        Question,
        *(Number, Number, st.booleans(), st.booleans(), Number),
        *(Where, Where, st.booleans()),
    ),
    min_size=1,
    max_size=8,
)


class Remedies(Operations):
    """Random operations, and remedies for some of the mounts that they leave."""

    carried_out = 0

    @rule(questions=Questions)
    def remedies(self, questions: list[Question]) -> None:
        for one in questions:
            if one.binds:
                self.bind(one.ns, one.what, one.where, recursive=True)
            else:
                self.mount(one.ns, one.where)
            self.remedy(one.ns, one.which, one.others, one.alone, one.way)

    def remedy(self, n: int, which: int, others: bool, alone: bool, way: int) -> None:
        """Take a mount away, or a tree; the copies of it in other namespaces, too, or not."""
        model, ns = self.both.model, self.ns(n)
        if HOME not in self.kernel.processes or not (path := self.submount(ns, which)):
            return
        if not self.is_at_top(HOME):
            return
        root = model.resolve(ns, path).mount
        unwanted = {root} if alone else {mount.id for mount in model.tree(root)}
        if others:
            files = {(model.mounts[one].device, model.mounts[one].root) for one in unwanted}
            unwanted |= {
                mount.id
                for mount in model.mounts.values()
                if is_mounted(mount) and mount.ns != ns and (mount.device, mount.root) in files
            }
        unwanted -= set(model.roots.values())
        if not unwanted:
            return
        remedy = find_remedy(model, unwanted, home=HOME, endable=set(self.kernel.processes))
        self.refuses_what_it_says(remedy)
        ways = [remedy.trial, *remedy.others]
        trial = ways[way % len(ways)]
        if not self.can_be_tried(trial):
            return
        before = {mount.id for mount in model.mounts.values() if is_mounted(mount)}
        was = render(model)
        try:
            for command in trial.commands:
                self.carry_out(command)
        except AssertionError as error:
            error.add_note(f"{trial}\nbefore:\n{was}")
            raise
        promised = unwanted - {mount.id for mount in remedy.left}
        promised |= {mount.id for mount in trial.also_gone}
        if trial is remedy.trial:
            assert before - set(model.mounts) == promised, trial
        else:
            assert unwanted.isdisjoint(model.mounts), trial
        type(self).carried_out += 1

    def can_be_tried(self, trial: Trial) -> bool:
        """Whether directories are empty, which tables do not tell, and umount(8) can do its part:
        there is no /proc here, which it needs for -R."""
        for one in trial.commands:
            if isinstance(one, RemoveDirectory):
                if not self.both.is_empty(where(self.both.model, one.ns, one.path, follow=False)):
                    return False
            elif isinstance(one, EndNamespace):
                if one.ns == HOME:
                    return False
            elif isinstance(one, Umount) and (one.recursive or one.lazy):
                can_be = one.lazy and self.is_at_top(str(one.ns))
                if not can_be:
                    return False
        return True

    def is_at_top(self, ns: str) -> bool:
        """Whether the root directory of a namespace's process is not covered."""
        return where(self.both.model, ns, "/").mount == self.both.model.roots[ns]

    def carry_out(self, command: Command) -> None:
        match command:
            case EndNamespace(ns):
                self.both.end(str(ns))
            case RemoveDirectory(ns, path):
                self.both.remove(str(ns), path)
                assert not self.both.refused, command
            case Umount(ns, paths, True):
                for path in paths:
                    self.both.umount(str(ns), path, lazy=True)
                    assert not self.both.refused, command
            case _:
                done = self.give(command)
                assert done.returncode == 0, (command, done.stderr, render(self.both.model))
                carry_out(self.both.model, [command])
                self.both.likeness.check(self.both.model, self.kernel.tables())

    def give(self, command: Command) -> subprocess.CompletedProcess[str]:
        assert not isinstance(command, EndNamespace)
        text = line(command, str(self.kernel.processes[str(command.ns)].pid))
        return subprocess.run(
            ["bash", "-c", text], capture_output=True, text=True, check=False, timeout=30
        )

    def refuses_what_it_says(self, remedy: Remedy) -> None:
        for one in remedy.refused:
            assert self.give(one.command).returncode, one


def test_remedies() -> None:
    Remedies.carried_out = 0
    run_at_random(Remedies)
    print(f"{Remedies.carried_out} remedies carried out")
    assert Remedies.carried_out
