# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where a mount is in the file system of its parent, from a mount table."""

from __future__ import annotations

import pytest

from mnttrace.capture.join.naming import place_in
from tests.replay.build import M, line


@pytest.mark.parametrize(
    ("root", "at", "path", "place"),
    [
        ("/", "/", "/", "/"),
        ("/", "/", "/x", "/x"),
        ("/a", "/", "/", "/a"),  # it covers the root directory
        ("/a", "/", "/x/y", "/a/x/y"),
        ("/a", "/m", "/m", "/a"),
        ("/a", "/m", "/m/x", "/a/x"),
        ("/", "/m", "/m", "/"),
        ("/", "/m", "/m/x", "/x"),
    ],
)
def test_a_mount_point_is_a_path_in_the_file_system_of_the_parent(
    root: str, at: str, path: str, place: str
) -> None:
    parent = M(1001, at=at, root=root)
    mount = M(1002, parent, path)
    lines = {one.mount_id: line(one) for one in (parent, mount)}
    assert place_in(lines[2], lines) == place
