# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`python -m mnttrace` is the command `mnttrace`."""

from mnttrace.cli import main

main()
