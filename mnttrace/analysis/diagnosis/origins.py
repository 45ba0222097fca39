# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How mounts came where they are, step by step, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.story import Story, ids


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
    steps: list[Step] = []
    seen: set[object] = set()
    while mount not in seen:
        seen.add(mount)
        at = story.lives.attached(ids([mount]))
        effect = story.effect(at[0])
        if effect is None:
            steps.append(Step("preexisting"))
            break
        operation = story.operation(effect["seq"])
        if effect["via"] in ("peer", "slave"):
            steps.append(_propagated(story, at, effect, operation))
        elif effect["via"] == "namespace-copy":
            steps.append(Step("inherited", effect, operation))
        elif effect["copy_of_unique"] is not None:
            steps.append(Step("bound", effect, operation))
        else:
            steps.append(Step("mounted", effect, operation))
            break
        mount = effect["copy_of_unique"]
    return steps


def _propagated(story: Story, at: np.ndarray, effect: Row, operation: Row | None) -> Step:
    carrier = story.lives.carriers(at)
    made = story.effect(story.lives.shared_since(carrier)[0])
    since = story.operation(made["seq"]) if made else None
    return Step("propagated", effect, operation, story.effect(carrier[0]), since, made is None)
