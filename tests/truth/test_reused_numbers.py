# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Before Linux 6.11 a namespace is known by its inode number, which another one may have next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mnttrace.capture import about
from mnttrace.capture.survey import surveyor as surveys
from mnttrace.linux import namespaces, statmount
from mnttrace.linux.btf import Btf
from mnttrace.probes import backends, offsets
from tests.truth import harness
from tests.truth.harness import Kernel
from tests.truth.witness import Witness

IDS = {"MOUNT_ID_UNIQUE", "MNT_NS_ID", "MNT_NS_TREE", "CAN_WALK", "FANOTIFY_MNT_ID"}


@pytest.fixture
def no_unique_ids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The kernel tells no ids that are not used again: neither of mounts nor of namespaces."""
    whole = offsets.definitions
    monkeypatch.setenv("MNTTRACE_CACHE", str(tmp_path / "cache"))  # what is kept knows more

    def without(btf: Btf) -> dict[str, int]:
        return {name: value for name, value in whole(btf).items() if name not in IDS}

    monkeypatch.setattr(offsets, "definitions", without)
    monkeypatch.setattr(statmount, "available", lambda: False)
    for module in (namespaces, about, backends, surveys):
        monkeypatch.setattr(module, "namespace_id", lambda path: None)
    harness.tells_unique_ids.cache_clear()
    yield
    harness.tells_unique_ids.cache_clear()


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.usefixtures("no_unique_ids")
def test_a_namespace_with_the_number_of_one_that_ended(late: int, tmp_path: Path) -> None:
    with Witness(late, backend="syscalls") as witness, Kernel(tmp_path) as kernel:
        kernel.first("host").do("mount", path="/a", fstype="tmpfs")
        number = kernel.copy("host", "before").namespace_id
        witness.begin(kernel)
        kernel.end("before")
        witness.step(kernel, "end")
        assert kernel.copy("host", "after").namespace_id == number
        witness.session.poll(timeout=5)  # what comes first is that birth
        witness.step(kernel, "copy")
    # Of a root nothing is told here: its parent cannot be seen.
    assert witness.score.by_action == {"attach": 1, "detach": 1}
    assert witness.score.right == witness.score.told == 2
    assert witness.score.ambiguous == 0
