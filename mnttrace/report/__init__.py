# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings as text, HTML, graphs and traces: each is written to a file."""
