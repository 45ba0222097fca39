# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How mounts came where they are, step by step, and what follows from that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.story import Story, ids

_FIRST = ("mounted", "preexisting")  # what no step came before


@dataclass(frozen=True)
class Step:
    """One step in the history of a mount, from where it is back to where it was first mounted.

    Attributes:
        how: "mounted" by an operation; "bound" by one from another mount; "propagated" through a
            peer group; "inherited", copied when its namespace was made; "preexisting", older than
            the recording.
        effect: the row of `effects`, None for "preexisting".
        operation: the row of `operations` that caused it, where it is known.
        carrier: for "propagated", the effect on the top of the tree that came with it: `via_group`,
            `via_path` and `via_unique` of it tell which mount carried them all.
        shared_since: for "propagated", the operation that made the mount shared through whose peer
            group it came; None: it was shared before the recording began, or no operation is known.
        shared_before: whether it was before.
    """

    how: Literal["mounted", "bound", "propagated", "inherited", "preexisting"]
    effect: Row | None = None
    operation: Row | None = None
    carrier: Row | None = None
    shared_since: Row | None = None
    shared_before: bool = False


def steps_of(story: Story, mount: object) -> list[Step]:
    """How a mount came to be, the last step first.

    Args:
        story: of the recording.
        mount: its unique id, None if it has none.
    """
    [steps] = histories_of(story, [mount])
    return steps


def histories_of(story: Story, mounts: Sequence[object]) -> list[list[Step]]:
    """The same of several mounts."""
    lives = story.lives
    found: list[list[Step]] = [[] for _ in mounts]
    seen: list[set[int]] = [set() for _ in mounts]
    left, at = np.arange(len(mounts)), lives.attached(ids(mounts))
    while len(left):
        carriers = lives.carriers(at)
        since = lives.shared_since(carriers)
        story.load(np.concatenate([at, carriers, since]))
        for place, *effects in zip(left.tolist(), at, carriers, since, strict=True):
            found[place].append(_step(story, *effects))
            seen[place].add(int(effects[0]))
        is_copy = np.array([found[place][-1].how not in _FIRST for place in left.tolist()], bool)
        left, at = left[is_copy], lives.attached(lives.numbers("copy_of_unique", at[is_copy]))
        # A damaged recording can go in circles.
        is_new = np.array(
            [one not in seen[place] for place, one in zip(left.tolist(), at.tolist(), strict=True)],
            bool,
        )
        left, at = left[is_new], at[is_new]
    return found


def _step(story: Story, at: int, carrier: int, since: int) -> Step:
    effect = story.effect(at)
    if effect is None:
        return Step("preexisting")
    operation = story.operation(effect["seq"])
    if effect["via"] in ("peer", "slave"):
        made = story.effect(since)
        by = story.operation(made["seq"]) if made else None
        return Step("propagated", effect, operation, story.effect(carrier), by, made is None)
    if effect["via"] == "namespace-copy":
        return Step("inherited", effect, operation)
    return Step("mounted" if effect["copy_of_unique"] is None else "bound", effect, operation)


def arrival(steps: Sequence[Step]) -> Step:
    """The step by which a mount came to its namespace, or what it was bound from."""
    return next(step for step in steps if step.how != "bound")
