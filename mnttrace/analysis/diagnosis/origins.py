# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How mounts came where they are, step by step, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.story import Story
from mnttrace.analysis.settings import is_shared

Kind = Literal["held", "residue", "leak", ""]


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
            group it came; None: it was shared before the recording began.
    """

    how: Literal["mounted", "bound", "propagated", "inherited", "preexisting"]
    effect: Row | None = None
    operation: Row | None = None
    carrier: Row | None = None
    shared_since: Row | None = None


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
        effect = story.attached(mount)
        if effect is None:
            steps.append(Step("preexisting"))
            break
        operation = story.operation(effect["seq"])
        if effect["via"] in ("peer", "slave"):
            top = _top_of_tree(story, effect)
            since = shared_since(story, top["via_unique"], effect["seq"])
            steps.append(Step("propagated", effect, operation, top, since))
        elif effect["via"] == "namespace-copy":
            steps.append(Step("inherited", effect, operation))
        elif effect["copy_of_unique"] is not None:
            steps.append(Step("bound", effect, operation))
        else:
            steps.append(Step("mounted", effect, operation))
            break
        mount = effect["copy_of_unique"]
    return steps


def _top_of_tree(story: Story, effect: Row) -> Row:
    """The effect on the top of the tree that was propagated with a mount."""
    while True:
        above = story.attached(effect["parent_unique"])
        if above is None or above["seq"] != effect["seq"] or not above["via_unique"]:
            return effect
        effect = above


def kind_of(story: Story, steps: list[Step]) -> Kind:
    """What is wrong with a mount that is there.

    Args:
        story: of the recording.
        steps: of :func:`steps_of`.

    Returns:
        "held" if it was inherited and its original was unmounted; "residue" if it was propagated
        and its original is gone; "leak" if it was propagated from another namespace; else "".
    """
    last = next((step for step in steps if step.how != "bound"), None)
    if last is None or last.effect is None:
        return ""
    gone = story.detached(last.effect["copy_of_unique"])
    if last.how == "inherited":
        return "held" if gone is not None and gone["via"] != "namespace-death" else ""
    if last.how != "propagated":
        return ""
    if gone is not None:
        return "residue"
    return "leak" if last.effect["copy_of_ns_id"] != last.effect["ns_id"] else ""


def shared_since(story: Story, mount: int | None, seq: int | None) -> Row | None:
    """The operation that made a mount shared; None if it was before the recording.

    Args:
        story: of the recording.
        mount: its unique id.
        seq: the operation at whose end it was shared; None: at the end of the recording.
    """
    cause: Row | None = None
    for row in story.of(mount):
        if seq is not None and row["seq"] is not None and row["seq"] > seq:
            break
        if row["shared"] is not None and (
            row["action"] == "attach"
            or (row["action"] == "change" and not is_shared(row["before"]))
        ):
            cause = row
    return story.operation(cause["seq"]) if cause else None
