# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Tests. Each folder says in its first line what its tests need; below it mirrors the package."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
