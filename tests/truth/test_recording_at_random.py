# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording against the real kernel: random operations, and what it says of each one.

MNTTRACE_MODEL_OPERATIONS says how many there are to be, 1,000 if it does not.
"""

from __future__ import annotations

import pytest

from tests.truth.test_model_at_random import Operations, run_at_random
from tests.truth.witness import Witness

# That a walk is too long (cut_walk) is none, as hundreds of mounts in one peer group are more than
# one passes by: what it did not come to is found after it, and compared with all else.
LOSSES = "lost", "torn", "cut_inconsistent", "cut_strings"


@pytest.mark.parametrize("late", [0, 7])
def test_every_effect_is_recorded_with_its_cause(late: int) -> None:
    with Witness(late) as witness:

        class Recorded(Operations):
            """The same operations, with a witness."""

            def __init__(self) -> None:
                super().__init__()
                witness.begin(self.kernel)
                self.both.after = lambda name: witness.step(self.kernel, name, self.both)

            def teardown(self) -> None:
                try:
                    if witness.steps:
                        witness.check(self.kernel)
                finally:
                    super().teardown()

        run_at_random(Recorded)
    print(witness.score)
    assert witness.score.ambiguous == 0
    assert not {kind: n for kind, n in witness.losses.items() if n and kind.startswith(LOSSES)}
