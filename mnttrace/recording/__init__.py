# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings: their tables, writing, reading, older formats, and imported mount tables."""
