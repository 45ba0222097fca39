# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of shared subtrees against the real kernel: random operations, compared each time.

MNTTRACE_MODEL_OPERATIONS says how many there are to be, 1,000 if it does not; with
MNTTRACE_SHRINK=1 the shortest sequence that fails is looked for, which can take minutes.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mnttrace.analysis.model.mounts import MountId, PropagationType, Refused
from tests.truth.both import beside
from tests.truth.harness import Kernel, is_modelled

pytestmark = pytest.mark.usefixtures("kernel_that_is_modelled")

OPERATIONS = int(os.environ.get("MNTTRACE_MODEL_OPERATIONS", "1000"))
SHRINK = os.environ.get("MNTTRACE_SHRINK", "") == "1"
STEPS = 60  # of one sequence, from an empty namespace on
NAMESPACES = 4
MOST = 300  # mounts, all namespaces together

Number = st.integers(0, 999)
Below = st.sampled_from(["", "", "/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b"])
Where = st.tuples(Number, Below)
Types = st.sampled_from(["shared", "shared", "slave", "slave", "private", "unbindable"])


class Operations(RuleBasedStateMachine):
    """Random operations in up to four namespaces.

    What they are for is given by numbers: of a namespace, of a mount in it, of a detached tree. A
    place is a mount and a path from there, so that it mostly exists.
    """

    compared = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.kernel = Kernel(Path(self.directory.name)).__enter__()
        self.both = beside(self.kernel)
        self.born = 0

    def teardown(self) -> None:
        type(self).compared += self.both.compared
        self.kernel.__exit__()
        self.directory.cleanup()

    def ns(self, number: int) -> str:
        names = list(self.kernel.processes)
        return names[number % len(names)]

    def path(self, ns: str, number: int, below: str = "") -> str:
        mounts = self.both.model.in_namespace(ns)
        path = self.both.model.path(mounts[number % len(mounts)].id)
        return path.rstrip("/") + below or "/"

    def submount(self, ns: str, number: int) -> str:
        """The path of a mount that can be moved or unmounted: of any but the first, if any."""
        mounts = self.both.model.in_namespace(ns)
        return self.path(ns, number % (len(mounts) - 1) + 1) if len(mounts) > 1 else ""

    def has_room(self, ns: str, path: str, tree: MountId = None) -> bool:
        """Whether there will not be too many mounts when a tree is mounted at a path.

        If there would be, some are cleared away, with an operation that is compared, too.
        """
        model = self.both.model
        on = model.mounts[model.resolve(ns, path).mount]
        size = 1 if tree is None else len(model.tree(tree))
        if len(model.mounts) + size * (1 + len(model.receivers(on))) <= MOST:
            return True
        sizes = {name: len(model.in_namespace(name)) for name in self.kernel.processes}
        largest = max(sizes, key=lambda name: sizes[name])
        if len(sizes) > 1:
            self.both.end(largest)
        elif len(model.mounts) > 1:
            self.both.umount(largest, self.submount(largest, 0), lazy=True)
        return False

    @initialize(to=st.sampled_from([None, "private", "slave", "unbindable"]), user=st.booleans())
    def begin(self, to: PropagationType | None, user: bool) -> None:
        self.both.change("host", "/", "shared").copy("host", "n0", user=user)
        if to is not None:
            self.both.change("n0", "/", to)

    @rule(n=Number, where=Where)
    def mount(self, n: int, where: tuple[int, str]) -> None:
        path = self.path(ns := self.ns(n), *where)
        if self.has_room(ns, path):
            self.both.mount(ns, path)

    @rule(n=Number, what=Where, where=Where, recursive=st.booleans())
    def bind(self, n: int, what: tuple[int, str], where: tuple[int, str], recursive: bool) -> None:
        ns = self.ns(n)
        old, new = self.path(ns, *what), self.path(ns, *where)
        if self.has_room(ns, new, self.both.model.resolve(ns, old).mount if recursive else None):
            self.both.bind(ns, old, new, recursive=recursive)

    @rule(n=Number, what=Number, where=Where)
    def move(self, n: int, what: int, where: tuple[int, str]) -> None:
        ns = self.ns(n)
        old, new = self.submount(ns, what), self.path(ns, *where)
        if old and self.has_room(ns, new, self.both.model.resolve(ns, old).mount):
            self.both.move(ns, old, new)

    @rule(n=Number, what=Number, where=Number)
    def move_beneath(self, n: int, what: int, where: int) -> None:
        ns = self.ns(n)
        old, new = self.submount(ns, what), self.submount(ns, where)
        on = self.both.see(ns, new).parent if new and self.both.exists(ns, new) else None
        if on in self.both.model.mounts and self.has_room(
            ns, self.both.model.path(on), self.both.model.resolve(ns, old).mount
        ):
            self.both.move(ns, old, new, beneath=True)

    @rule(n=Number, which=Number)
    def umount(self, n: int, which: int) -> None:
        self.umount_any(n, which, lazy=False)

    @rule(n=Number, which=Number)
    def umount_lazily(self, n: int, which: int) -> None:
        self.umount_any(n, which, lazy=True)

    @rule(n=Number)
    def umount_newest(self, n: int) -> None:
        self.umount_any(n, len(self.both.model.in_namespace(self.ns(n))) - 2, lazy=False)

    def umount_any(self, n: int, which: int, *, lazy: bool) -> None:
        path = self.submount(ns := self.ns(n), which)
        model = self.both.model
        # Without its root directory nothing could be done in a namespace any more.
        if path and model.top(model.resolve(ns, path)).mount != model.roots[ns]:
            self.both.umount(ns, path, lazy=lazy)

    @rule(n=Number, which=Number, to=Types)
    def change(self, n: int, which: int, to: PropagationType) -> None:
        ns = self.ns(n)
        self.both.change(ns, self.path(ns, which), to)

    @rule(n=Number, which=Number, to=Types)
    def change_all(self, n: int, which: int, to: PropagationType) -> None:
        ns = self.ns(n)
        self.both.change(ns, self.path(ns, which), to, recursive=True)

    @rule(n=Number, what=Number, where=Number)
    def set_group(self, n: int, what: int, where: int) -> None:
        model, ns = self.both.model, self.ns(n)
        mounts = model.in_namespace(ns)
        grouped = [mount for mount in mounts if mount.propagation not in ("private", "unbindable")]
        if not grouped:
            return
        old = grouped[what % len(grouped)]
        fit = [mount for mount in mounts if mount.device == old.device and mount not in grouped]
        if fit:
            new = fit[where % len(fit)]
            self.both.set_group(ns, model.path(old.id), model.path(new.id))

    @rule(n=Number, new=Number, below=Below)
    def pivot_root(self, n: int, new: int, below: str) -> None:
        ns = self.ns(n)
        if path := self.submount(ns, new):
            self.both.pivot_root(ns, path, path.rstrip("/") + below or "/")

    @rule(n=Number, which=Where)
    def remove(self, n: int, which: tuple[int, str]) -> None:
        path = self.path(ns := self.ns(n), *which)
        if path == "/":
            return  # EBUSY, wherever that leads
        try:
            spot = self.both.spot(ns, path, follow=False)
        except Refused:
            return
        if self.both.is_empty(spot):
            self.both.remove(ns, path)

    @rule(n=Number, user=st.booleans())
    def copy(self, n: int, user: bool) -> None:
        model, ns = self.both.model, self.ns(n)
        root = model.mounts[model.roots[ns]]
        # Else EPERM, as in a chroot; whether it is one tables alone do not tell.
        user = user and is_modelled() and model.overmount(root) is None
        if len(self.kernel.processes) < NAMESPACES and self.has_room(ns, "/", root.id):
            self.born += 1
            self.both.copy(ns, f"n{self.born}", user=user)

    @precondition(lambda self: len(self.kernel.processes) == NAMESPACES)
    @rule(n=Number)
    def end(self, n: int) -> None:
        self.both.end(self.ns(n))

    @precondition(lambda self: len(self.both.trees) < 2)
    @rule(n=Number, what=Where, recursive=st.booleans())
    def open_tree(self, n: int, what: tuple[int, str], recursive: bool) -> None:
        path = self.path(ns := self.ns(n), *what)
        if self.has_room(ns, "/", self.both.model.resolve(ns, path).mount):
            self.both.open_tree(ns, path, recursive=recursive)

    @precondition(lambda self: not self.both.trees)
    @rule(n=Number)
    def fsmount(self, n: int) -> None:
        self.both.fsmount(self.ns(n))

    @precondition(lambda self: self.both.trees)
    @rule(where=Where, beneath=st.booleans())
    def attach(self, where: tuple[int, str], beneath: bool) -> None:
        model, (ns, _, root) = self.both.model, self.both.trees[0]
        path = self.path(ns, *where)
        if self.has_room(ns, path, root if root in model.mounts else None):
            self.both.attach(0, path, beneath=beneath)

    @precondition(lambda self: len(self.both.trees) == 2)
    @rule()
    def close(self) -> None:
        self.both.close(0)


def run_at_random(machine: type[Operations]) -> None:
    machine.compared = 0
    while machine.compared < OPERATIONS:
        left = OPERATIONS - machine.compared
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=max(1, left // STEPS),
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])],
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"{machine.compared} operations compared")


def test_random_operations() -> None:
    run_at_random(Operations)
