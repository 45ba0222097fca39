# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What all operations of the model share: how they end, refuse, and resolve their target."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from mnttrace.analysis.model.mounts import DELETED, Effect, MountId, Obstacle, Refused, Spot, Via
from mnttrace.analysis.model.tables import Tables

Arguments = ParamSpec("Arguments")


def operation(
    via: Via = "direct",
) -> Callable[
    [Callable[Concatenate[Tables, Arguments], None]],
    Callable[Concatenate[Tables, Arguments], list[Effect]],
]:
    """Make a function that changes tables return its effects, and change nothing if refused."""

    def decorate(
        function: Callable[Concatenate[Tables, Arguments], None],
    ) -> Callable[Concatenate[Tables, Arguments], list[Effect]]:
        @functools.wraps(function)
        def run(
            tables: Tables, /, *arguments: Arguments.args, **options: Arguments.kwargs
        ) -> list[Effect]:
            try:
                function(tables, *arguments, **options)
            except Refused:
                tables.undo()
                raise
            return tables.effects(via)

        return run

    return decorate


def refusal_of(
    tables: Tables, function: Callable[..., object], *arguments: object, **options: object
) -> Refused | None:
    """Why an operation of the model would be refused, None if it would not; tables stay unchanged.

    Args:
        tables: to try it on.
        function: one that :func:`operation` made, with its arguments and options.
    """
    try:
        go_on_with(tables, function, *arguments, **options)
    except Refused as why:
        return why
    finally:
        tables.undo()
    return None


def go_on_with(
    tables: Tables, function: Callable[..., object], *arguments: object, **options: object
) -> None:
    """Carry out an operation of the model as a part of the running one, which stays undoable.

    Args:
        tables: to be changed.
        function: one that :func:`operation` made, with its arguments and options.

    Raises:
        Refused: it would be; the tables are to be undone then.
    """
    function.__wrapped__(tables, *arguments, **options)  # type: ignore[attr-defined]


def refuse_if(
    condition: bool, errno: str, reason: str, *mounts: MountId, kind: Obstacle = "other"
) -> None:
    """Refuse an operation if the condition holds; the rest as for :class:`Refused`."""
    if condition:
        raise Refused(errno, reason, *mounts, kind=kind)


def is_root(tables: Tables, spot: Spot) -> bool:
    """Whether a spot is the root of its mount: path_mounted()."""
    return tables.mounts[spot.mount].root == spot.place


def target_of(tables: Tables, spot: Spot) -> Spot:
    """The spot that is covered by a mount on another spot: do_lock_mount()."""
    spot = tables.top(spot)
    refuse_if(spot.place.endswith(DELETED), "ENOENT", "the mountpoint was removed", kind="removed")
    return spot
