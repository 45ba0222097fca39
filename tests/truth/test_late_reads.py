# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recorder that looks when several operations are over: it tells them apart all the same."""

from pathlib import Path

from tests.truth.both import beside
from tests.truth.harness import Kernel
from tests.truth.witness import Witness


def test_a_umount_after_a_removal_is_not_taken_for_a_part_of_it(tmp_path: Path) -> None:
    with Witness(late=99) as witness, Kernel(tmp_path) as kernel:
        both = beside(kernel).change("host", "/", "private").mount("host", "/b/a")
        both.copy("host", "other").umount("other", "/b/a")
        witness.begin(kernel)
        both.after = lambda name: witness.step(kernel, name, both)
        # In the other namespace a mount on the same file is mounted on one that goes.
        both.bind("other", "/b", "/b/b").mount("other", "/b/b/a")
        both.remove("host", "/b/b").umount("host", "/b/a")
        witness.check(kernel)


def test_what_a_removal_takes_from_a_namespace_that_is_not_watched_yet(tmp_path: Path) -> None:
    with Witness(late=99) as witness, Kernel(tmp_path) as kernel:
        both = beside(kernel).change("host", "/", "private").copy("host", "other")
        both.bind("other", "/a", "/a").mount("other", "/a/b").mount("other", "/a/b/a")
        witness.begin(kernel)
        both.after = lambda name: witness.step(kernel, name, both)
        both.copy("other", "new").remove("host", "/a/b").umount("new", "/a", lazy=True)
        witness.check(kernel)
