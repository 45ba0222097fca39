#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Runs the examples of the documentation, and writes what they print into it.

    sudo .venv/bin/python scripts/examples.py [--check] [FILE.md …]

An example is a block that begins with ```sh recorded, and the next ones that begin with
```console. The first is recorded where /srv is a shared tmpfs with the directory /srv/data. In the
others, the lines that begin with "$ " are run, as run.mnttrace is the recording; what follows each
is what it prints, and is replaced. `sleep 0.5` waits until the last process in the background has
its mount namespace, however long that takes, and a second for it to become sleep(1), if it does.

With --check nothing is written: it ends with status 1 if something else is printed now, but for
numbers, which are others each time. Needs root.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
DOCS = ("README.md", "docs/leaks.md", *sorted(map(str, (CHECKOUT / "docs/case-studies").iterdir())))
_PREPARE = """
mount -t tmpfs host /srv; mount --make-shared /srv; mkdir /srv/data
"""
_INSIDE = """
sleep() {
    [ "$1" = 0.5 ] || { command sleep "$1"; return; }
    until [ "$(readlink /proc/$!/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ] &&
        [ "$(cat /proc/$!/comm)" != unshare ]; do command sleep .02; done
    for _ in {1..50}; do [ "$(cat /proc/$!/comm)" = sleep ] || command sleep .02; done
}
"""
_BLOCK = re.compile(r"^```(sh recorded|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("files", nargs="*", default=[str(CHECKOUT / name) for name in DOCS])
    arguments = parser.parse_args()
    differs = False
    for name in arguments.files:
        old = Path(name).read_text()
        new = written(old)
        if not arguments.check:
            Path(name).write_text(new)
        elif _plain(old) != _plain(new):
            differs = True
            lines = [_plain(text).splitlines(keepends=True) for text in (old, new)]
            sys.stdout.writelines(difflib.unified_diff(*lines, name, "what is printed now"))
    sys.exit(differs)


def written(text: str) -> str:
    """A document with what its examples print."""
    parts: list[str] = []
    place = 0
    recorded: Recorded | None = None
    try:
        for block in _BLOCK.finditer(text):
            parts.append(text[place : block.start()])
            place = block.end()
            kind, inside = block.groups()
            if kind == "sh recorded":
                if recorded is not None:
                    recorded.close()
                recorded = Recorded(inside)
            elif recorded is not None:
                inside = "".join(recorded.answers(inside))
            parts.append(f"```{kind}\n{inside}```")
    finally:
        if recorded is not None:
            recorded.close()
    return "".join(parts) + text[place:]


class Recorded:
    """A recording of an example, in a mount namespace that is kept for its questions."""

    def __init__(self, script: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mnttrace-example-")
        folder = Path(self._folder.name)
        (folder / "script").write_text(f"{_INSIDE}\n{script}\njobs -p >{folder}/pids\n")
        mnttrace = shlex.join([sys.executable, "-m", "mnttrace"])
        self._shell = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "120"},
        )
        self._run(f'mnttrace() {{ {mnttrace} "$@"; }}\n{_PREPARE}')
        # Of this shell and its children alone, whatever else the machine does meanwhile.
        self._run("mnttrace record --pid $$ -o run.mnttrace -- bash script >record.log 2>&1")

    def answers(self, block: str) -> Iterator[str]:
        """The lines of a console, with what each command prints."""
        for line in block.splitlines():
            if line.startswith("$ "):
                yield f"{line}\n{self._run(line[2:])}"

    def close(self) -> None:
        """End its processes and its mounts."""
        self._run("kill $(cat pids) 2>/dev/null")
        self._shell.communicate("umount -R /srv\n")
        self._folder.cleanup()

    def _run(self, command: str) -> str:
        """What a command prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\necho; echo 'the end of it'\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line == "the end of it\n":
                break
            # What a busy machine may have cost is no part of an example.
            if not line.startswith("mnttrace: incomplete:"):
                lines.append(line)
        return "".join(lines).removesuffix("\n")


def _plain(text: str) -> str:
    """With zeros in place of numbers and times."""
    return re.sub(r"\d([\d,.:]*\d)?", "0", text)


if __name__ == "__main__":
    main()
