# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""With this in PYTHONPATH a kernel is taken for one that refuses fentry, as arm64 before 6.4."""

from mnttrace.linux import bpf
from tests.kernel.probes.no_fentry import refusing

bpf._load = refusing(bpf._load)
