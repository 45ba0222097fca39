# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Each file says under which licence it is, and scripts/spdx.py adds what is missing once."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path, PurePosixPath

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SPDX = runpy.run_path(str(CHECKOUT / "scripts" / "spdx.py"))
APACHE, DUAL = "Apache-2.0", "GPL-2.0-only OR BSD-2-Clause"


def lines(comment: str, licence: str) -> str:
    return "".join(
        f"{comment.format(text)}\n" for text in (SPDX["COPYRIGHT"], f"{SPDX['LICENCE']} {licence}")
    )


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.py", '"""What."""\n', lines("# {}", APACHE) + '\n"""What."""\n'),
        ("a/__init__.py", "", lines("# {}", APACHE)),
        ("a.sh", "#!/bin/sh\n# What.\n", f"#!/bin/sh\n{lines('# {}', APACHE)}\n# What.\n"),
        (".ci/run", "#!/bin/sh\n", "#!/bin/sh\n" + lines("# {}", APACHE)),
        ("Makefile", "\nall:\n", lines("# {}", APACHE) + "\nall:\n"),
        ("page.css", "a {}\n", lines("/* {} */", APACHE) + "\na {}\n"),
        ("page.js", "f()\n", lines("// {}", APACHE) + "\nf()\n"),
        ("bpf/a.h", "/* What */\n", lines("/* {} */", DUAL) + "\n/* What */\n"),
        ("bpf/a.bpf.c", "int x;\n", lines("// {}", DUAL) + "\nint x;\n"),
    ],
)
def test_lines_are_added_once(name: str, before: str, after: str) -> None:
    wanted = SPDX["header"](PurePosixPath(name))
    assert SPDX["fault"](before, wanted) == "missing"
    assert SPDX["with_header"](before, wanted) == after
    assert SPDX["fault"](after, wanted) == ""
    assert SPDX["with_header"](after, wanted) == after


def test_one_line_of_two_is_completed() -> None:
    wanted = SPDX["header"](PurePosixPath("a.py"))
    text = f"{wanted[1]}\n\nx = 1\n"
    assert SPDX["with_header"](text, wanted) == "\n".join([*wanted, "", "x = 1", ""])


def test_another_licence_is_reported() -> None:
    wanted = SPDX["header"](PurePosixPath("bpf/a.h"))
    assert "Apache-2.0" in SPDX["fault"](lines("/* {} */", APACHE), wanted)


def test_what_has_no_comments_is_listed() -> None:
    assert SPDX["header"](PurePosixPath("docs/limits.md")) is None
    listed = SPDX["listed"]((CHECKOUT / "REUSE.toml").read_text())
    for name, is_listed in (
        ("README.md", True),
        ("docs/limits.md", True),
        ("tests/data/mountinfo/docker-host.txt", True),
        ("tests/data/mountinfo/more/docker-host.txt", False),
        ("core.bin", False),
    ):
        assert any(one.fullmatch(name) for one in listed) == is_listed, name


def test_the_texts_of_all_licences_are_there() -> None:
    named = {word for licence in (APACHE, DUAL) for word in licence.split(" OR ")}
    assert {path.stem for path in (CHECKOUT / "LICENSES").iterdir()} == named
    whole = (CHECKOUT / "LICENSE").read_text()
    assert whole == (CHECKOUT / "LICENSES" / "Apache-2.0.txt").read_text()


def test_files_that_are_asked_for_are_checked_alone() -> None:
    command = [CHECKOUT / "scripts" / "spdx.py", "LICENSES/Apache-2.0.txt", "README.md"]
    subprocess.run(command, cwd=CHECKOUT, check=True)
