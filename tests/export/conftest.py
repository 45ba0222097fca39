"""The recordings that the tests of this folder write out and ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.recording.writer import Writer

Write = Callable[..., Recording]

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
def recorded(in_namespace: Callable[..., Any], tmp_path: Path) -> Recording:
    """A real recording of SCRIPT."""
    (tmp_path / "script").write_text(SCRIPT)
    in_namespace(f"{BEFORE}\n$MNTTRACE record -o run.mnttrace -- sh script")
    return Recording(tmp_path / "run.mnttrace")


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """`write(operations=[...], effects=[...], ...)` makes a recording of such rows.

    With `close=False` it is one that is still being written.
    """
    open_ones = []

    def run(*, close: bool = True, **tables: list[dict[str, Any]]) -> Recording:
        writer = Writer(tmp_path / "run.mnttrace")
        writer.meta |= {"home_ns_id": 1, "wall_offset": 10**18, "started": 10**18 + 5}
        for table, rows in tables.items():
            for row in rows:
                writer.add(table, row)
        if close:
            writer.close()
        else:
            writer.flush()
            open_ones.append(writer)
        return Recording(tmp_path / "run.mnttrace")

    yield run
    for writer in open_ones:
        writer.close()
