# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`leaks` and `why` agree on a busy host with containers; the list is ordered by harm."""

from __future__ import annotations

import pytest

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.diagnosis.findings import findings
from mnttrace.analysis.recording import Recording
from tests.agreement import disagreements

ORDER = ["held or left", "escape", "container-to-container", "other", "wanted", "gone"]


@pytest.mark.parametrize("kind", ["held", "residue", "escape", "container-to-container", "other"])
def test_leaks_and_why_agree_in_every_field(synthetic: Recording, kind: str) -> None:
    leaks = synthetic.leaks
    some = leaks[(leaks["kind"] == kind) & (leaks["present"] > 0)].head(3)
    assert len(some)
    assert disagreements(synthetic, some) == []


def test_what_is_busy_comes_first_then_what_came_to_the_host_and_what_is_wanted_last(
    synthetic: Recording,
) -> None:
    kinds = [
        "gone" if not row["present"] else "wanted" if row["wanted"] else row["kind"]
        for row in rows(synthetic.leaks)
    ]
    told = ["held or left" if one in ("held", "residue") else one for one in kinds]
    assert {*told} >= {*ORDER} - {"other"}
    assert told == sorted(told, key=ORDER.index)
    shown = [one.place for one in findings(synthetic) if one.frame == "leaks"]
    assert shown == list(range(len(synthetic.leaks)))
