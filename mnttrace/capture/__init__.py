# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recording and watching: what the kernel reports, and what is read, become rows."""
