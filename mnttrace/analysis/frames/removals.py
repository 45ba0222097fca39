# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mount points calls removed: rmdir(2) and the like are seen as they end, without a path."""

from __future__ import annotations

from mnttrace.analysis.run import Run


def removed(run: Run) -> dict[int, str]:
    """The mount points that operations removed, by the numbers of these.

    Returns:
        Operation → paths with ", " between them, as the namespaces of the detached mounts have
        them; no other operations than removals.
    """
    effects = run.effects
    is_removed = (effects["via"] == "mountpoint-removed") & effects["seq"].notna()
    found = effects.loc[is_removed.fillna(False), ["seq", "mountpoint"]].drop_duplicates()
    paths = found.groupby("seq")["mountpoint"].agg(", ".join)
    return dict(zip(paths.index, paths, strict=True))
