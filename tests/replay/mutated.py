# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Raw logs with mistakes: events left out, doubled, swapped, moved, or with another value in a
field. Each mistake is made of a number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
from hypothesis import strategies as st

from mnttrace.capture.join.events import AnyEvent

MISTAKES = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=8)

_EXTREME: dict[type, list[Any]] = {
    int: [0, 1, -1, 1 << 31, 1 << 63, 1 << 70],
    str: ["", "/", "…", "\0", "/x//deleted"],
    bool: [False, True],
    type(None): [None],
}


def mutate(bodies: list[bytes], numbers: list[int]) -> list[bytes]:
    """Make a mistake in a log for each number."""
    made = list(bodies)
    for number in numbers:
        random = Random(number)
        here, there = random.randrange(len(made)), random.randrange(len(made))
        match random.choice(["drop", "double", "swap", "move", "field", "field", "field"]):
            case "drop" if len(made) > 1:
                del made[here]
            case "double":
                made.insert(there, made[here])
            case "swap":
                made[here], made[there] = made[there], made[here]
            case "move":
                made.insert(there, made.pop(here))
            case "field":
                made[here] = _with_another_value(made[here], made[there], random)
    return made


def _with_another_value(body: bytes, other: bytes, random: Random) -> bytes:
    """An event with another value in one field: one that an event has somewhere, or an extreme."""
    event = json.loads(body)
    places = list(_leaves(event))
    if not places:
        return body
    holder, key = random.choice(places)
    kind = type(holder[key])
    values = [
        value for inside, at in _leaves(json.loads(other)) if type(value := inside[at]) is kind
    ]
    holder[key] = random.choice([*values, *_EXTREME[kind]])
    made = json.dumps(event).encode()
    try:
        msgspec.json.decode(made, type=AnyEvent)
    except msgspec.ValidationError:  # what no raw log can have
        return body
    return made


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each number, text and so on, as what holds it and its key there."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, dict | list):
                yield from _leaves(inner)
            else:
                yield value, key
