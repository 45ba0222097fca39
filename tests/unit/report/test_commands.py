# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Paths in commands: bash has them back as they were."""

from __future__ import annotations

import subprocess

from mnttrace.report.commands import quoted

PATHS = [
    "/srv/plain-1.0_x",
    "/a b/it's",
    "/two\nlines\tand \x1b[31m",
    "/$(reboot) `id` ${HOME} \\n !x *",
    "/h\u00e4user/\u202eright",
    "/not UTF-8 \udcff\udc80",
    "",
]


def test_bash_reads_each_path_as_one_word() -> None:
    script = "printf '%s\\0' " + " ".join(map(quoted, PATHS))
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    words = [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]
    assert words == PATHS
    assert "\n" not in script
    assert "\x1b" not in script
