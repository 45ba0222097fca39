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
