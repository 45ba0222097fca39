# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The same operations for the real kernel and for the model, compared after each one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from typing import Any

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import (
    DELETED,
    Effect,
    Mount,
    MountId,
    PropagationType,
    Refused,
    Spot,
)
from mnttrace.analysis.model.tables import Tables
from tests.truth.harness import Kernel, Likeness, error_name, is_modelled
from tests.truth.worker import DEPTH


class Both:
    """The kernel, and the model beside it; each method is one operation of both.

    It fails where one of them refuses what the other does, or for another reason, and where their
    tables differ afterwards. The model is never corrected by the kernel: it only learns the devices
    of new filesystems from it.

    Attributes:
        kernel: its processes.
        model: its tables.
        compared: how many operations were.
        refused: the error of the last operation, or "".
        effects: of the last operation, by the model.
        actor: the namespace whose process did it, "" if it ended.
        ways: (action, unique id in the kernel) → how the model says that the operation came to that
            mount, for what it attached and detached.
        after: is called with the name of each operation when it has been compared.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        kernel.first("host")
        self.model = kernel.tables()
        self.likeness = Likeness()
        self.likeness.check(self.model, kernel.tables())
        self.trees: list[tuple[str, int, MountId]] = []  # namespace, descriptor, root in the model
        self.bare: set[str] = set()  # devices without the directories that the others have
        self.shared_devices: dict[str, str] = {}  # by types that have but one filesystem
        self.compared = 0
        self.refused = ""
        self.effects: list[Effect] = []
        self.actor = ""
        self.ways: dict[tuple[str, int], str] = {}
        self.after: Callable[[str], None] = lambda _: None

    def spot(self, ns: str, path: str, *, follow: bool = True) -> Spot:
        """Where a path leads.

        Raises:
            Refused: ENOENT, there is no such directory: what tables cannot tell.
        """
        spot = self.model.resolve(ns, path, follow=follow)
        there = spot.place.removesuffix(DELETED).rstrip("/")
        depth = 0 if self.model.mounts[spot.mount].device in self.bare else DEPTH
        if DELETED in there or there.count("/") > depth:
            raise Refused("ENOENT", "no such directory")
        return spot

    def exists(self, ns: str, path: str) -> bool:
        """Whether a path leads somewhere."""
        try:
            self.spot(ns, path)
        except Refused:
            return False
        return True

    def is_empty(self, spot: Spot) -> bool:
        """Whether a directory has none within it."""
        return spot.place.count("/") == DEPTH and DELETED not in spot.place

    def see(self, ns: str, path: str) -> Mount:
        """The mount that a path leads to."""
        return self.model.mounts[self.spot(ns, path).mount]

    def mount(self, ns: str, path: str, fstype: str = "tmpfs") -> Both:
        self._kernel(ns, "mount", path=path, fstype=fstype)
        device = self.shared_devices.get(fstype, "none")
        if not self.refused:
            [device] = _devices(self.kernel.tables()) - _devices(self.model)
            self.bare.discard(device)  # numbers are given again
            if fstype != "tmpfs":
                self.shared_devices[fstype] = device
            # Its directories cannot be made if it is covered at once, by what propagates.
            if fstype != "tmpfs" or not self.kernel[ns].do("furnish", path=path, device=device):
                self.bare.add(device)
        return self._model(lambda: propagation.mount(self.model, self.spot(ns, path), device))

    def bind(self, ns: str, source: str, target: str, *, recursive: bool = False) -> Both:
        self._kernel(ns, "bind", source=source, target=target, recursive=recursive)
        return self._model(
            lambda: propagation.bind(
                self.model, self.spot(ns, source), self.spot(ns, target), recursive=recursive
            )
        )

    def move(self, ns: str, source: str, target: str, *, beneath: bool = False) -> Both:
        self._kernel(ns, "move", source=source, target=target, beneath=beneath)
        return self._model(
            lambda: propagation.move(
                self.model, self.spot(ns, source), self.spot(ns, target), beneath=beneath
            )
        )

    def set_group(self, ns: str, source: str, target: str) -> Both:
        self._kernel(ns, "set_group", source=source, target=target)
        return self._model(
            lambda: propagation.set_group(self.model, self.spot(ns, source), self.spot(ns, target))
        )

    def change(self, ns: str, path: str, to: PropagationType, *, recursive: bool = False) -> Both:
        self._kernel(ns, "change", path=path, to=to, recursive=recursive)
        return self._model(
            lambda: propagation.change(self.model, self.spot(ns, path), to, recursive=recursive)
        )

    def umount(
        self, ns: str, path: str, *, lazy: bool = False, busy: Container[MountId] = ()
    ) -> Both:
        self._kernel(ns, "umount", path=path, lazy=lazy)
        return self._model(
            lambda: propagation.umount(self.model, self.spot(ns, path), lazy=lazy, busy=busy)
        )

    def pivot_root(self, ns: str, new_root: str, put_old: str) -> Both:
        self._kernel(ns, "pivot_root", new_root=new_root, put_old=put_old)
        return self._model(
            lambda: propagation.pivot_root(
                self.model, self.spot(ns, new_root), self.spot(ns, put_old)
            )
        )

    def remove(self, ns: str, path: str) -> Both:
        """Remove a directory in which there is none, and make another one of its name."""
        self._kernel(ns, "remove", path=path)
        return self._model(
            lambda: propagation.remove(self.model, self.spot(ns, path, follow=False))
        )

    def copy(self, source: str, name: str, *, user: bool = False) -> Both:
        """Make a namespace, owned by a new user namespace or not."""
        self.refused, self.actor = "", name  # its process unshares itself
        self.kernel.copy(source, name, user=user)
        owner = name if user else None
        return self._model(
            lambda: propagation.copy_namespace(self.model, source, name, owner=owner)
        )

    def end(self, name: str) -> Both:
        """End the only process of a namespace."""
        self.refused = self.actor = ""
        self.kernel.end(name)
        closed = [tree for tree in self.trees if tree[0] == name]
        self.trees = [tree for tree in self.trees if tree[0] != name]

        def apply() -> list[Effect]:
            for _, _, root in closed:
                propagation.close(self.model, root)
            return propagation.end_namespace(self.model, name)

        return self._model(apply)

    def open_tree(self, ns: str, path: str, *, recursive: bool = False) -> Both:
        tree = self._kernel(ns, "open_tree", path=path, recursive=recursive)
        root: MountId = 0

        def apply() -> None:
            nonlocal root
            root = propagation.open_tree(self.model, self.spot(ns, path), recursive=recursive)

        self._model(apply)
        if not self.refused:
            self.trees.append((ns, tree, root))
        return self

    def fsmount(self, ns: str) -> Both:
        tree, device = self._kernel(ns, "fsmount")
        self.bare.discard(device)
        self.trees.append((ns, tree, propagation.fsmount(self.model, device)))
        return self

    def attach(self, number: int, path: str, *, beneath: bool = False) -> Both:
        """Attach a detached tree."""
        ns, tree, root = self.trees[number]
        self._kernel(ns, "attach", tree=tree, path=path, beneath=beneath)

        def apply() -> list[Effect]:
            source = Spot(root, self.model.mounts[root].root)
            return propagation.move(self.model, source, self.spot(ns, path), beneath=beneath)

        self._model(apply)
        if not self.refused:
            effects = self.effects
            self.close(number)
            self.effects = effects
        return self

    def close(self, number: int) -> Both:
        """Close the descriptor of a tree, detached or not."""
        ns, tree, root = self.trees.pop(number)
        self._kernel(ns, "close", tree=tree)
        return self._model(lambda: propagation.close(self.model, root))

    def refuses(self, error: str) -> None:
        """Fail unless the last operation was refused with an error."""
        assert self.refused == error

    def _kernel(self, ns: str, command: str, **arguments: object) -> Any:
        self.refused, self.actor = "", ns
        try:
            return self.kernel[ns].do(command, **arguments)
        except OSError as error:
            self.refused = error_name(error)
            return None

    def _model(self, apply: Callable[[], list[Effect] | None]) -> Both:
        """Apply an operation that the kernel has done, or refused, to the model; and compare."""
        self.effects, refused, reason = [], "", ""
        try:
            self.effects = apply() or []
        except Refused as error:
            refused, reason = error.errno, error.reason
        told = f"the model says {refused!r} ({reason}), the kernel {self.refused!r}"
        assert refused == self.refused, told
        before = self.likeness.mounts
        self.likeness.check(self.model, self.kernel.tables())
        known = before | self.likeness.mounts
        self.ways = {
            (effect.action, int(str(known[effect.mount.id]))): effect.via
            for effect in self.effects
            if effect.action in ("attach", "detach")
        }
        self.compared += 1
        self.after(sys._getframe(1).f_code.co_name)
        return self


class Alone(Both):
    """The kernel where the model is not that of it: its own tables stand for what the model says,
    and nobody says how mounts came to be."""

    def _model(self, apply: Callable[[], list[Effect] | None]) -> Both:
        self.model = self.kernel.tables()
        self.compared += 1
        self.after(sys._getframe(1).f_code.co_name)
        return self


def beside(kernel: Kernel) -> Both:
    """The model beside a kernel, if it is of that."""
    return Both(kernel) if is_modelled() else Alone(kernel)


def _devices(tables: Tables) -> set[str]:
    return {mount.device for mount in tables.mounts.values()}
