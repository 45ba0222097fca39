# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What `leaks` and `why` say of the same mounts, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.diagnosis.answers import Holder, Why
from mnttrace.analysis.diagnosis.findings import mounts_of, prevention_of, remedy_of
from mnttrace.analysis.diagnosis.origins import Step
from mnttrace.analysis.recording import Recording
from mnttrace.report.names import title

Row = dict[str, Any]
Place = tuple[int, int]  # namespace and mount id


class Disagreement(NamedTuple):
    """A field of which the two say different things."""

    mountpoint: str
    field: str
    leaks: object
    why: object


class Answers:
    """What `why` says of mounts; each file system is asked for once."""

    def __init__(self, run: Recording) -> None:
        self._run = run
        self._found: dict[Place, tuple[Why, Holder]] = {}

    def of(self, place: Place) -> tuple[Why, Holder]:
        if place not in self._found:
            answer = self._run.why(str(place[1]))
            for one in answer.holders:
                self._found[one.mount["ns_id"], one.mount["mount_id"]] = answer, one
        return self._found[place]

    def of_gone(self, row: Row) -> tuple[Why, Holder]:
        answer = self._run.why(row["mountpoint"])
        [holder] = [
            one
            for one in answer.holders
            if one.mount["ns_id"] == row["dst_ns_id"]
            and one.mount["mountpoint"] == row["mountpoint"]
            and one.kind == row["kind"]
            and _operation(_arrival(one)).get("seq") == row["seq"]
        ]
        return answer, holder


def disagreements(run: Recording, leaks: pd.DataFrame) -> list[Disagreement]:
    """Whatever `leaks` and `why` do not agree in.

    Args:
        run: a whole recording.
        leaks: rows of its `leaks`.
    """
    answers = Answers(run)
    found: list[Disagreement] = []
    for row in rows(leaks):
        ids = _ids(row)
        if ids:
            answer, holder = answers.of((row["dst_ns_id"], ids[0]))
        else:
            answer, holder = answers.of_gone(row)
        fields = {**_fields(run, row, holder), **_advice(run, row, answer, holder)}
        found += (
            Disagreement(row["mountpoint"], name, leaks, why)
            for name, (leaks, why) in fields.items()
            if leaks != why
        )
    return found


def untold(run: Recording) -> Iterator[Disagreement]:
    """Mounts that came from elsewhere, or stayed, by only one of the two."""
    answers = Answers(run)
    in_leaks = {(row["dst_ns_id"], one) for row in rows(run.leaks) for one in _ids(row)}
    attached = run.effects[run.effects["action"] == "attach"]
    gone = set(run.effects.loc[run.effects["action"] == "detach", "mnt_id_unique"])
    for row in rows(attached, ["ns_id", "mount_id", "mnt_id_unique", "mountpoint"]):
        if row["mnt_id_unique"] in gone:
            continue
        place = row["ns_id"], row["mount_id"]
        _, holder = answers.of(place)
        if bool(holder.kind) != (place in in_leaks):
            yield Disagreement(row["mountpoint"], "told", place in in_leaks, holder.kind)


def _fields(run: Recording, row: Row, holder: Holder) -> dict[str, tuple[object, object]]:
    step = _arrival(holder)
    effect = step.effect or {}
    carrier = step.carrier or effect
    namespaces = run.diagnosis.namespaces
    by = _operation(step)
    found = {
        "kind": holder.kind,
        "wanted": holder.wanted,
        "present": holder.mount["present"],
        "mountpoint": holder.mount["mountpoint"],
        "fstype": holder.mount["fstype"],
        "source": holder.mount["source"],
        "dst_name": title(holder.namespace),
        "src_name": title(namespaces.get(effect["copy_of_ns_id"], {})),
        "copy_of_path": effect["copy_of_path"],
        "evidence": effect["evidence"],
        "via": effect["via"],
        **{name: by.get(name) for name in ("seq", "comm", "pid", "syscall")},
    }
    told = row | {"present": bool(row["present"])}
    if step.how == "propagated":
        found |= {name: carrier[name] for name in ("via_group", "via_path")}
        found["receiver_path"] = carrier["parent_path"]
        found["via_seq"] = (step.shared_since or {}).get("seq")
    else:
        verdicts = run.diagnosis.verdicts([holder.mount["mnt_id_unique"]])
        gone = run.diagnosis.story.effect(verdicts.orphaned[0]) or {}
        found |= {"orphaned_seq": gone.get("seq"), "orphaned": gone.get("ts")}
        found["freed_seq"] = holder.gone[0]["seq"] if holder.gone else None
    return {name: (told[name], value) for name, value in found.items()}


def _advice(
    run: Recording, row: Row, answer: Why, holder: Holder
) -> dict[str, tuple[object, object]]:
    """What is to be done: the same, if `why` is about no other mounts than the row."""
    remedy = remedy_of(run.diagnosis, row)
    is_wrong: dict[str, tuple[object, object]] = {
        "is to be taken": (remedy is not None, holder.is_wrong)
    }
    wrong = [
        run.diagnosis.mount(one.mount["ns_id"], one.mount["mount_id"])
        for one in answer.holders
        if one.is_wrong
    ]
    if {*run.diagnosis.with_rest(wrong)} != {*mounts_of(run.diagnosis, row)}:
        return is_wrong
    kept, not_tried = prevention_of(run, run.diagnosis, row)
    other = answer.prevention
    return is_wrong | {
        "remedy": (remedy, answer.remedy),
        "prevention": (kept and kept.kind, other and other.kind),
        "changes": (kept and kept.changes, other and other.changes),
        "not tried": (not_tried, answer.not_tried),
    }


def _arrival(holder: Holder) -> Step:
    return next(step for step in holder.steps if step.how != "bound")


def _operation(step: Step) -> Row:
    return step.operation or {}


def _ids(row: Row) -> list[int]:
    return [int(one) for one in (row["mount_ids"] or "").split(",") if one]
