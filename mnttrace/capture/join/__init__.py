# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""From events to rows: what happened to which mount, and why. No I/O."""
