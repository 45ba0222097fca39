# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Commands that are started in the checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import CHECKOUT


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    # A make above this one would tell its options to the one below.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=outside | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
