#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Checks that each file of the checkout says under which licence it is; --fix adds missing lines.

    scripts/spdx.py [--fix] [FILE ...]

A source file says it in comments at its top: after "#!", before all else. What cannot carry a
comment is listed in REUSE.toml. A file that names another licence is reported, never changed. Ends
with status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

CHECKOUT = Path(__file__).resolve().parent.parent
# In two pieces each, as tools that look for these lines would find them here.
COPYRIGHT = "SPDX-" + "FileCopyrightText: The mnttrace authors"
LICENCE = "SPDX-License-" + "Identifier:"
# Suffix, or the name of a file that has none → how a comment is written.
COMMENTS = {
    **dict.fromkeys([".py", ".sh", ".toml", "Makefile", "run"], "# {}"),
    **dict.fromkeys([".c", ".js", ".proto"], "// {}"),
    **dict.fromkeys([".h", ".css"], "/* {} */"),
}
LOOKED_AT = 4  # lines, from the top


def licence(path: PurePosixPath) -> str:
    """Under which licence a file is: the kernel wants GPL of programs that use its helpers."""
    return "GPL-2.0-only OR BSD-2-Clause" if path.parts[0] == "bpf" else "Apache-2.0"


def header(path: PurePosixPath) -> list[str] | None:
    """The lines that a file begins with; None if it can have no comments."""
    comment = COMMENTS.get(path.suffix or path.name)
    if comment is None:
        return None
    return [comment.format(text) for text in (COPYRIGHT, f"{LICENCE} {licence(path)}")]


def fault(text: str, wanted: list[str]) -> str:
    """What is wrong with the top of a source file: "missing", another licence, or ""."""
    top = text.splitlines()[:LOOKED_AT]
    if all(line in top for line in wanted):
        return ""
    others = [line for line in top if LICENCE in line and line not in wanted]
    return f"not the licence of its folder: {others[0]}" if others else "missing"


def with_header(text: str, wanted: list[str]) -> str:
    """A source file with the lines that it lacks."""
    lines = text.splitlines(keepends=True)
    start = 1 if text.startswith("#!") else 0
    added = [f"{line}\n" for line in wanted if line not in text.splitlines()[:LOOKED_AT]]
    rest = lines[start:]
    has_some = bool(rest) and rest[0].rstrip("\n") in wanted
    space = ["\n"] if rest and rest[0].strip() and not has_some else []
    return "".join([*lines[:start], *added, *space, *rest])


def listed(toml: str) -> list[re.Pattern[str]]:
    """The files that REUSE.toml names: "*" is a name or part of one, "**" any path."""
    found = []
    for annotation in tomllib.loads(toml)["annotations"]:
        paths = annotation["path"]
        for glob in [paths] if isinstance(paths, str) else paths:
            pattern = re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
            found.append(re.compile(pattern))
    return found


def files() -> list[str]:
    """What git has, or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    names = {name for name in done.stdout.split("\0") if name}
    return sorted(name for name in names if (CHECKOUT / name).is_file())


def main() -> None:
    """Check, or fix, and say what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--fix", action="store_true", help="add the lines that are missing")
    parser.add_argument("files", nargs="*", metavar="FILE", help="all of the checkout if none")
    asked = parser.parse_args()
    elsewhere = listed((CHECKOUT / "REUSE.toml").read_text())
    faults = 0
    names = [Path(name).resolve().relative_to(CHECKOUT).as_posix() for name in asked.files]
    for name in names or files():
        path = PurePosixPath(name)
        if path.parts[0] in {"LICENSE", "LICENSES"}:
            continue
        wanted = header(path)
        if wanted is None:
            found = "" if any(one.fullmatch(name) for one in elsewhere) else "not in REUSE.toml"
        else:
            text = (CHECKOUT / name).read_text()
            found = fault(text, wanted)
            if found == "missing" and asked.fix:
                (CHECKOUT / name).write_text(with_header(text, wanted))
                print(f"{name}: added")
                continue
        if found:
            faults += 1
            print(f"{name}: SPDX lines: {found}", file=sys.stderr)
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
