# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mounts their paths lead to."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.state.mount_tables import covered, mount_at

# Mount id, parent, mount point.
TABLE = pd.DataFrame(
    [
        (1, 0, "/"),
        (2, 1, "/srv"),
        (3, 2, "/srv/a"),
        (4, 2, "/srv"),  # covers both
        (5, 4, "/srv/a"),
        (6, 1, "/srv-2"),  # not below /srv
        (7, 1, "/x/y"),
        (8, 1, "/x"),  # covers the one below, which is on the same mount
    ],
    columns=["mount_id", "parent_id", "mountpoint"],
)


def test_what_lies_under_another_mount_is_covered() -> None:
    assert covered(TABLE) == {2, 3, 7}


def test_a_root_that_is_its_own_parent_or_has_one_that_is_not_seen() -> None:
    for parent in (1, 99):
        table = TABLE.replace({"parent_id": {0: parent}})
        assert covered(table) == {2, 3, 7}


def test_a_path_leads_to_the_topmost_mount() -> None:
    paths = {"/": 1, "/etc": 1, "/srv/a/b": 5, "/srv/b": 4, "/srv-2/x": 6, "/x/y/z": 8}
    assert {path: mount_at(TABLE, path) for path in paths} == paths
    assert mount_at(TABLE.head(0), "/") is None
