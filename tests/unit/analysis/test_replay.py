# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Going to some moments alone, against going to all of them."""

from __future__ import annotations

import pytest

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.recording import Recording
from mnttrace.analysis.state.replay import Replay


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_what_comes_and_goes_between_two_moments_is_not_missed(
    synthetic: Recording, narrow: bool, share: float
) -> None:
    some = synthetic.operations.sample(frac=share, random_state=7).sort_index()
    moments = some[["seq", "monotonic", "ns_id"]]
    all_, few = Replay(synthetic), Replay(synthetic, moments, narrow)
    seen = 0
    for moment in rows(moments):
        at = moment["seq"], moment["monotonic"]
        expected, found = all_.to(*at), few.to(*at)
        if narrow:
            ns = moment["ns_id"]
            assert found.in_namespace(ns) == expected.in_namespace(ns)
        else:
            assert found.mounts == expected.mounts
        seen += len(found.mounts)
    assert seen > 100
