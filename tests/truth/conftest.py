"""What the tests of this folder share."""

import pytest

from mnttrace.linux.btf import Btf


@pytest.fixture(scope="session")
def kernel_that_is_modelled() -> None:
    """Skip on kernels that are not like Linux 6.18, the one that the model is of."""
    if not Btf.load().has("mount.mnt_t_flags"):
        pytest.skip("the model is that of Linux 6.17 and later")
