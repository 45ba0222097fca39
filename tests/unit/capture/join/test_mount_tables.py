# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The paths of dentries, as the mount tables know them."""

from __future__ import annotations

from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.naming import Naming
from tests.replay.build import M, entry

ROOT = M(1001)
ONE, TWO = (M(unique, on=ROOT, at="/old/m") for unique in (2002, 2003))
MOUNTPOINT = entry(ONE).mountpoint


def tables() -> MountTables:
    """Two mounts at one dentry."""
    made = MountTables()
    for mount in (ROOT, ONE, TWO):
        names = {entry(mount).root: "/", entry(mount).mountpoint: mount.place}
        made.attach(Naming(made).make(entry(mount), names, None))
    return made


def test_a_dentry_has_the_path_that_was_learned_last() -> None:
    known = tables()
    for mount in known.attached((ONE.unique, TWO.unique)):
        known.rename(mount, "/", "/new/m")
    assert known.path_of_dentry(MOUNTPOINT, 0) == "/new/m"


def test_what_one_mount_says_holds_for_its_dentry_until_all_are_gone() -> None:
    known = tables()
    [first] = known.attached([ONE.unique])
    known.rename(first, "/", "/new/m")
    known.detach(ONE.unique)
    assert known.path_of_dentry(MOUNTPOINT, 0) == "/new/m"
    known.detach(TWO.unique)
    assert known.path_of_dentry(MOUNTPOINT, 0) is None
