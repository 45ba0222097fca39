# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Real recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.recording import Recording
from tests.kernel.recordings import Record, Recorded

# A mount that comes to another place of its namespace and to a peer and a slave, at once with other
# calls; one that fails; a namespace that dies, and a mount point that is removed.
SCRIPT = """
set -e
unshare -m --propagation slave sh -ec 'mount -t tmpfs x gone; touch slave-is-there
    until [ -e done ]; do sleep 0.01; done' &
until [ -e slave-is-there ]; do sleep 0.01; done
rmdir gone
unshare -m --propagation unchanged sh -ec '
    mount -t tmpfs leaked pool/x
    for n in 1 2 3 4; do
        (for m in 1 2 3 4 5; do mount -t tmpfs $n-$m busy/$n; umount busy/$n; done) &
    done
    wait
    mount -t tmpfs odd "$(printf "pool/<script>\\"\\n\\377")"
    touch done'
mount -t tmpfs nowhere pool/is-not-there || true
wait
"""
BEFORE = r"""
mkdir pool copy busy gone
mount -t tmpfs pool pool; mkdir pool/x pool/y "$(printf 'pool/<script>"\n\377')"
mount --bind pool copy
mount -t tmpfs --make-private busy busy; mkdir busy/1 busy/2 busy/3 busy/4
"""


@pytest.fixture
def record(in_namespace: Callable[..., Any], tmp_path: Path) -> Record:
    """`record(script, before="", after="", options="")` records a shell script.

    `before` and `after` run outside of the recording, in the same shell; save mount tables with
    `cat /proc/self/mountinfo >NAME` for :meth:`Recorded.table`.
    """

    def run(script: str, before: str = "", after: str = "", options: str = "") -> Recorded:
        (tmp_path / "script").write_text(f"set -e\n{script}\n")
        done = in_namespace(
            f"{before}\n$MNTTRACE record -o run.mnttrace {options} -- sh script\n{after}\n"
        )
        return Recorded(tmp_path, done.stdout + done.stderr)

    return run


@pytest.fixture
def recorded(in_namespace: Callable[..., Any], tmp_path: Path) -> Recording:
    """A real recording of SCRIPT."""
    (tmp_path / "script").write_text(SCRIPT)
    in_namespace(f"{BEFORE}\n$MNTTRACE record -o run.mnttrace -- sh script")
    return Recording(tmp_path / "run.mnttrace")
