# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which namespaces are no more: as the kernel says by id, and as all processes show by number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.capture.survey import gone as module
from mnttrace.capture.survey.gone import gone
from mnttrace.linux.namespaces import mount_namespaces, namespace_id

OWN = "/proc/self/ns/mnt"


def key(path: str, by_id: bool) -> int:
    return namespace_key(os.stat(path).st_ino, namespace_id(path) or 0 if by_id else 0)


@pytest.mark.parametrize("by_id", [True, False])
def test_one_is_gone_when_nothing_holds_it_any_more(
    by_id: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_id and namespace_id(OWN) is None:
        pytest.skip("namespaces have no ids before Linux 6.11")
    if not by_id:
        if mount_namespaces().unreadable:
            return where_all_processes_can_be_looked_at()
        monkeypatch.setattr(module, "namespace_id", lambda _path: None)
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", "echo; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        path = f"/proc/{process.pid}/ns/mnt"
        both = [key(OWN, by_id), key(path, by_id)]
        held = Path(path).open("rb")  # noqa: SIM115
        assert gone(both) == []
        process.communicate(b"")
    assert gone(both) == []
    held.close()
    assert gone(both) == both[1:]
    return None


def where_all_processes_can_be_looked_at() -> None:
    """Run the test in a pid namespace of its own, without processes that belong to others."""
    assert os.getpid() > 100, "not even here"
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "pytest", "-q"]
    test = f"{__file__}::test_one_is_gone_when_nothing_holds_it_any_more[False]"
    done = subprocess.run(
        [*unshare, "-p", "no:cacheprovider", test], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
