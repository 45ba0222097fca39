# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A shared mount that is bound below itself again and again (podman#15671, kubernetes#106962)."""

from __future__ import annotations

# Each as a restart does: another target, below what is bound.
BINDS = "for n in 1 2 3 4; do mkdir tree/$n; mount --rbind {kind} tree tree/$n; done"
BEFORE = "mkdir tree; mount -t tmpfs --make-{kind} tree tree; cat /proc/sys/fs/mount-max >most"


def test_growth_is_told_with_when_it_ends(record, mnttrace) -> None:
    recorded = record(
        BINDS.format(kind=""),
        before=BEFORE.format(kind="shared"),
        after="cat /proc/self/mountinfo >now",
    )
    run = recorded.folder / "run.mnttrace"
    [row] = recorded.run.doublings.to_dict("records")
    sizes = [int(size) for size in row["made"].split(", ")]
    lines = [line for line in recorded.table("now") if line.source == "tree"]
    assert sum(sizes) == len(lines) - 1
    assert len(sizes) == 4
    assert row["total"] == len(recorded.table("now"))
    growth, most = sizes[-1] / sizes[-2], int((recorded.folder / "most").read_text())
    assert row["total"] * growth ** row["left"] <= most
    assert row["total"] * growth ** (row["left"] + 1) > most
    done = mnttrace("leaks", run, "--fail-on", "doubling")
    assert done.returncode == 3
    assert "doubling: mount binds" in done.stdout
    assert f"fs.mount-max allows at most {row['left']} more" in done.stdout


def test_a_private_tree_doubles(record) -> None:
    recorded = record(BINDS.format(kind=""), before=BEFORE.format(kind="private"))
    assert list(recorded.run.doublings["made"]) == ["1, 2, 4, 8"]


def test_what_is_not_recursive_does_not_grow(record) -> None:
    binds = BINDS.format(kind="").replace("--rbind", "--bind")
    recorded = record(binds, before=BEFORE.format(kind="private"))
    assert recorded.run.doublings.empty


# Two targets for one source: all are one peer group, and a bind over an old one is copied to it.
TARGETS = """
for n in 1 2 3 4; do for at in a b; do mount --bind tree/src tree/$at; {then}; done; done
"""
MADE = "mkdir tree; mount -t tmpfs --make-shared tree tree; mkdir tree/src tree/a tree/b"


def test_targets_that_are_peers_grow_though_none_is_below_the_source(record, mnttrace) -> None:
    recorded = record(TARGETS.format(then=":"), before=MADE, after="cat /proc/self/mountinfo >now")
    [row] = recorded.run.doublings.to_dict("records")
    sizes = [int(size) for size in row["made"].split(", ")]
    assert sizes[-3:] == [24, 48, 96]
    assert not row["is_below"]
    assert set(row["targets"].split(", ")) == {f"{recorded.folder}/tree/{at}" for at in "ab"}
    folder = recorded.folder / "tree"
    [group] = {line.shared for line in recorded.table("now") if line.mountpoint == str(folder)}
    assert row["group"] == group
    told = mnttrace("why", "run.mnttrace", folder / "a").stdout
    assert f"all are in peer group {group}" in told
    assert f"mount --make-private {folder}" in told


def test_they_do_not_grow_once_they_are_made_private(record) -> None:
    """As is advised."""
    recorded = record(TARGETS.format(then="mount --make-private tree/$at"), before=MADE)
    assert recorded.run.doublings.empty


def test_each_start_in_a_namespace_of_its_own_leaves_more_on_the_host(record) -> None:
    recorded = record(
        """
        for n in 1 2 3 4; do unshare -m --propagation unchanged sh -c '
            mount --rbind tree media/m; mount --rbind media/m/pods media/m/pods/vol'; done
        """,
        before="mkdir tree; mount -t tmpfs tree tree; mkdir -p tree/pods/vol media\n"
        "mount -t tmpfs --make-private media media; mkdir media/m",
    )
    [row] = recorded.run.doublings.to_dict("records")
    assert (row["ns_id"], row["starts"]) == (recorded.home, 4)
    assert row["made"] == "1, 4, 12, 36"
    leaks = recorded.run.leaks
    [leak] = leaks[leaks["dst_ns_id"] == recorded.home].to_dict("records")
    assert (leak["present"], leak["starts"]) == (53, 4)
