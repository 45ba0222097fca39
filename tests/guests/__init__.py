"""Stock kernels in QEMU, which run tests of the other folders: `make test-kernels` and its like."""
