# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recording lacks, in words."""

from __future__ import annotations

import re

import pytest

from mnttrace.analysis.frames.losses import _MEANINGS, warnings


@pytest.mark.parametrize("kind", [*_MEANINGS, "lost_something_new"])
@pytest.mark.parametrize("count", [1, 2])
def test_one_is_not_many(kind: str, count: int) -> None:
    [text] = warnings({"complete": True, "losses": {kind: count}})
    assert not set("{|}") & set(text)
    wrong = {1: "are|were|have", 2: "is|was|has"}[count]
    assert not re.search(rf"\b{count} \w+ (of )?(\w+ ){{0,2}}({wrong})\b", text.split(" that ")[0])


def test_a_missing_call() -> None:
    assert warnings({"complete": True, "losses": {"lost_inflight": 1}}) == [
        "1 call is missing: too many were under way at once"
    ]
