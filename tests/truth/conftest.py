"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from both import Both
from harness import Kernel
from witness import Witness

from mnttrace.linux.btf import Btf


@pytest.fixture(scope="session")
def kernel_that_is_modelled() -> None:
    """Skip on kernels that are not like Linux 6.18, the one that the model is of."""
    if not Btf.load().has("mount.mnt_t_flags"):
        pytest.skip("the model is that of Linux 6.17 and later")


@pytest.fixture(scope="module", params=[None, "syscalls"])
def witness(request: pytest.FixtureRequest) -> Iterator[Witness]:
    """A recorder that looks after each operation; its score is printed at the end.

    Once with all that this kernel tells, once as on kernels that have but calls and mount tables.
    """
    with Witness(way=request.param) as witness:
        yield witness
    print(f"\n{witness.score}")
    assert not witness.lost("lost") + witness.lost("cut") + witness.lost("torn")


@pytest.fixture
def both(tmp_path: Path, witness: Witness) -> Iterator[Both]:
    """The kernel and the model, and what is recorded of each operation: all three compared."""
    with Kernel(tmp_path) as kernel:
        both = Both(kernel)
        witness.begin(kernel)
        both.after = lambda name: witness.step(kernel, name, both)
        yield both
