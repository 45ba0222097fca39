# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Tests that need root and the real kernel, and mirror the package."""
