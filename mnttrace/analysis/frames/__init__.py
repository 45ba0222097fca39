# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Frames that follow from a recording's tables: propagations, leaks, births, refusals and so on."""
