# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Live only: the probes, the snapshots and the recorder that joins them."""
