# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the documentation says that commands print is what they print."""

from __future__ import annotations

import subprocess
import sys

from tests import CHECKOUT
from tests.short import IS_SHORT

SHORT = [CHECKOUT / "docs/leaks.md"] if IS_SHORT else []


def test_the_examples_print_what_the_documentation_says() -> None:
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts/examples.py", "--check", *SHORT],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
