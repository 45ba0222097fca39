"""A recording against the real kernel: random operations, and what it says of each one.

MNTTRACE_MODEL_OPERATIONS says how many there are to be, 2,000 if it does not.
"""

from __future__ import annotations

import pytest
from test_model_at_random import Operations, run_at_random
from witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel_that_is_modelled")]


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
    # How what a namespace had has gone, that lived and died unseen, is not known; all else is.
    assert witness.score.ambiguous * 1000 <= witness.score.told * (late > 0)
    assert not [kind for kind in ("lost", "cut", "torn") if witness.lost(kind)]
