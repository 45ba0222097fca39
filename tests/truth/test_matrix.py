# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Every row of the tables of sharedsubtree.rst: what is done × how source and destination are set.

Each operation is done by the real kernel, in a namespace whose mounts have masters before it and
peers and slaves after it; the model and the recording have to say the same of each. On kernels that
the model is not of, the recording has to say what the mount tables do.
"""

from __future__ import annotations

from typing import Literal

import pytest

from mnttrace.analysis.model.mounts import PropagationType
from tests.truth.both import Both

TYPES = ["private", "shared", "slave", "shared-and-slave", "unbindable"]


def make(both: Both, path: str, propagation: PropagationType | Literal["shared-and-slave"]) -> None:
    """Set a mount of "here"; its master, if it is to have one, is in "before"."""
    if propagation == "shared-and-slave":
        both.change("here", path, "slave").change("here", path, "shared")
    elif propagation != "shared":
        both.change("here", path, propagation)


@pytest.fixture
def here(both: Both, source: PropagationType, destination: PropagationType) -> Both:
    """/a, with /a/b on it, is the source, and /b the destination."""
    both.mount("host", "/a").mount("host", "/a/b").mount("host", "/b")
    both.change("host", "/", "shared", recursive=True).change("host", "/", "private")
    both.copy("host", "here")
    make(both, "/a", source)
    make(both, "/b", destination)
    return both.copy("here", "after").copy("here", "user", user=True)


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("destination", TYPES)
class TestEverySourceAndDestination:
    def test_bind(self, here: Both) -> None:
        here.bind("here", "/a", "/b/a").umount("here", "/b/a")

    def test_recursive_bind(self, here: Both) -> None:
        here.bind("here", "/a", "/b/a", recursive=True).umount("here", "/b/a", lazy=True)

    def test_detached_copy(self, here: Both) -> None:
        here.open_tree("here", "/a", recursive=True)
        if not here.refused:
            here.attach(0, "/b/b").umount("here", "/b/b", lazy=True)

    def test_move(self, here: Both) -> None:
        here.move("here", "/a", "/b/a").umount("here", "/b/a", lazy=True)

    def test_move_beneath(self, here: Both) -> None:
        here.mount("here", "/b/a").move("here", "/a", "/b/a", beneath=True)
        here.umount("here", "/b/a", lazy=True)

    def test_namespace_copy(self, here: Both) -> None:
        here.copy("here", "copy").copy("here", "of another user", user=True)
        here.mount("here", "/b/a").mount("copy", "/a/a")
        here.end("copy").end("here")


@pytest.mark.parametrize("source", ["private"])
@pytest.mark.parametrize("destination", TYPES)
class TestEveryDestination:
    def test_mount(self, here: Both) -> None:
        here.mount("here", "/b/a").mount("here", "/b/a/b").umount("here", "/b/a", lazy=True)

    def test_new_mount_api(self, here: Both) -> None:
        here.fsmount("here").attach(0, "/b/a").umount("here", "/b/a")

    def test_mounts_on_each_other(self, here: Both) -> None:
        here.mount("after", "/b/a").mount("here", "/b/a").mount("here", "/b/a").mount("here", "/b")
        here.umount("here", "/b").umount("here", "/b/a").umount("here", "/b/a")
        here.umount("after", "/b/a")

    def test_a_mount_point_that_is_removed_elsewhere(self, here: Both) -> None:
        here.mount("user", "/b/a/b").mount("after", "/b/a/b").remove("host", "/b/a/b")

    @pytest.mark.parametrize("to", ["private", "shared", "slave", "unbindable"])
    def test_change(self, here: Both, to: PropagationType) -> None:
        here.mount("here", "/b/a").change("here", "/b", to, recursive=True)
        here.mount("here", "/b/b").umount("here", "/b/b")
