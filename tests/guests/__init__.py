# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Stock kernels in QEMU, which run tests of the other folders: `make test-kernels` and its like."""
