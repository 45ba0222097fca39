# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Questions to a recording: which part of it, which mounts, in SQL, or against another one."""
