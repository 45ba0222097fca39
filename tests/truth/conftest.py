# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mnttrace.capture.stream.raw_log import NAME
from tests.rejoined import check_recording
from tests.truth.both import Both, beside
from tests.truth.harness import Kernel, is_modelled
from tests.truth.witness import Witness


@pytest.fixture(autouse=True)
def _rejoined(tmp_path: Path) -> Iterator[None]:
    """Each recording with a raw log gives the same rows when that is put through the core."""
    yield
    for recording in tmp_path.glob("*.mnttrace"):
        if (recording / NAME).is_file():
            check_recording(recording, tmp_path / f"{recording.stem}-again.mnttrace")


@pytest.fixture(scope="session")
def kernel_that_is_modelled() -> None:
    """Skip on others."""
    if not is_modelled():
        pytest.skip("the model is that of Linux 6.17 and 6.18")


@pytest.fixture(scope="module", params=[None, "syscalls"])
def witness(request: pytest.FixtureRequest) -> Iterator[Witness]:
    """A recorder that looks after each operation; its score is printed at the end.

    Once with all that this kernel tells, once as on kernels that have but calls and mount tables.
    """
    with Witness(backend=request.param) as witness:
        yield witness
    print(f"\n{witness.score}")
    assert not witness.lost("lost") + witness.lost("cut") + witness.lost("torn")


@pytest.fixture
def both(tmp_path: Path, witness: Witness) -> Iterator[Both]:
    """The kernel and the model, and what is recorded of each operation: all three compared."""
    with Kernel(tmp_path) as kernel:
        both = beside(kernel)
        witness.begin(kernel)
        both.after = lambda name: witness.step(kernel, name, both)
        yield both
