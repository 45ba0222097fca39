# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace watch`: one line an operation, as it happens."""

from __future__ import annotations

import json
from pathlib import Path

SCRIPT = """
mkdir volume; mount -t tmpfs volume volume; mkdir volume/x
unshare -m --propagation slave sh -c 'touch other; exec sleep 1000' &
until [ -e other ]; do sleep 0.02; done
$MNTTRACE watch OPTIONS >told 2>said &
watcher=$!
until grep -q watching said; do sleep 0.05; done
mount -t tmpfs inner volume/x
umount volume/nothing 2>refused || :
# It is told while it happens, not at the end.
until grep -q PATTERN told; do sleep 0.05; done
kill -TERM $watcher; wait $watcher
"""


def watch(in_namespace, options: str, pattern: str) -> None:
    in_namespace(SCRIPT.replace("OPTIONS", options).replace("PATTERN", pattern), timeout=60)


def test_operations_are_told_with_leaks_marked(in_namespace, tmp_path: Path) -> None:
    watch(in_namespace, "", "ENOENT")
    told = (tmp_path / "told").read_text().splitlines()
    [at] = [n for n, line in enumerate(told) if 'mount("inner"' in line]
    place = f"{tmp_path}/volume/x  tmpfs"
    assert told[at + 1].startswith(f"      + {place}")
    [copy] = [line for line in told if line.startswith("!     + ") and place in line]
    assert ", slave of peer group" in copy
    [refused] = [line for line in told if "volume/nothing" in line]
    assert refused.endswith("= -1 ENOENT")


def test_failed_ones_alone_and_json(in_namespace, tmp_path: Path) -> None:
    watch(in_namespace, f"--failed --json --path {tmp_path}/volume", "ENOENT")
    [told] = map(json.loads, (tmp_path / "told").read_text().splitlines())
    assert (told["syscall"], told["error"]) == ("umount2", "ENOENT")
    assert told["effects"] == []


def test_who_reads_may_go(in_namespace) -> None:
    in_namespace(
        """
        mkdir a
        { $MNTTRACE watch 2>said; echo $? >status; } | head -1 >first &
        until grep -q watching said; do sleep 0.05; done
        until [ -s status ]; do mount -t tmpfs x a; umount a; sleep 0.05; done
        ! grep -q Traceback said || exit 1
        grep -q '^0$' status
        """
    )
