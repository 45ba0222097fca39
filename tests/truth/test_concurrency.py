# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Several threads and processes mount under one shared mount at once, with six receivers.

MNTTRACE_LOOP_SECONDS says how long, 2 s if it does not.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from tests.truth.harness import tells_unique_ids
from tests.truth.witness import Witness

LOOPS, TAKEN = (Path(__file__).with_name(name) for name in ("loops.py", "taken.py"))
SECONDS = os.environ.get("MNTTRACE_LOOP_SECONDS", "2")
RECEIVERS = 6

# Who reads a directory keeps others from mounting on it; they have made their mount by then.
READ_THE_FIRST = "import os; fd = os.open('shared/0', 0)\nwhile True: os.listdir(fd)"


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("loops", [3, 8])
def test_nothing_is_missing_nothing_is_there_twice_and_every_owner_is_right(
    in_namespace, tmp_path: Path, kind: str, loops: int
) -> None:
    in_namespace(
        f"""
        mkdir shared; mount -t tmpfs shared shared
        for n in $(seq {RECEIVERS}); do
            mkfifo fifo$n
            unshare -m --propagation $([ $((n % 2)) = 0 ] && echo unchanged || echo slave) \
                sh -c "touch ready$n; read end <fifo$n" &
        done
        until [ $(ls ready* | wc -l) = {RECEIVERS} ]; do sleep 0.05; done
        $MNTTRACE record --keep-raw -o run.mnttrace -- \
            python3 {LOOPS} $PWD/shared {loops} {SECONDS} {kind} >made
        """,
        timeout=240,
    )
    _compare(tmp_path, loops, RECEIVERS)


def test_nothing_is_missing_of_what_waits_for_its_place(in_namespace, tmp_path: Path) -> None:
    """Mounts that are made before others and come after them: where the mounts of a namespace are
    a list, they are not in the order in which they were made."""
    in_namespace(
        f"""
        mkdir shared; mount -t tmpfs --make-private shared shared
        mkdir shared/0; (cd shared/0; seq 100 | xargs touch)
        python3 -c "{READ_THE_FIRST}" &
        $MNTTRACE record --keep-raw -o run.mnttrace -- \
            python3 {LOOPS} $PWD/shared 3 {SECONDS} threads >made
        """,
        timeout=240,
    )
    _compare(tmp_path, 3, 0)


def test_what_is_taken_away_at_once_is_told_or_counted(in_namespace, tmp_path: Path) -> None:
    in_namespace(
        f"""
        mkdir own; mount -t tmpfs --make-private own own; mkdir own/place
        $MNTTRACE record --keep-raw -o run.mnttrace -- \
            python3 {TAKEN} $PWD/own/place {SECONDS} >made
        """,
        timeout=240,
    )
    run = Recording(tmp_path / "run.mnttrace")
    made = int((tmp_path / "made").read_text())
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    effects = run.effects[run.effects["source"].str.startswith("made", na=False)]
    attached, detached = (
        effects[effects["action"] == action].set_index("mnt_id_unique")
        for action in ("attach", "detach")
    )
    print(f"{made} mounts, {len(attached)} told, {losses['lost_made']} counted")
    assert len(attached) + losses.pop("lost_made") == made
    assert not any(losses.values())
    assert attached.index.is_unique
    # Also where another mount has got its mount id since.
    assert detached["source"].sort_index().equals(attached["source"].sort_index())


def _compare(folder: Path, loops: int, receivers: int) -> None:
    """Hold what was recorded of loops, with so many that receive their mounts, against what they
    say that they did."""
    run = Recording(folder / "run.mnttrace")
    made = dict(map(int, line.split()) for line in (folder / "made").read_text().splitlines())
    assert len(made) == loops
    assert not [kind for kind, n in run.meta["losses"].items() if n and not kind.startswith("sent")]
    effects = run.effects[run.effects["source"].str.startswith("loop", na=False)]
    print(f"{sum(made.values())} mounts by {loops} loops, {len(effects)} effects")
    # Each mount came to each of the namespaces, and went from each.
    assert len(effects) == 2 * (1 + receivers) * sum(made.values())
    for action in ("attach", "detach"):
        told = effects[effects["action"] == action]
        assert told["mnt_id_unique"].is_unique
    operations = run.operations.set_index("seq")
    told = effects.assign(
        made_by=effects["seq"].map(operations["tid"]),
        place=effects["seq"].map(operations["path"]).str.rpartition("/")[2],
        call=effects["seq"].map(operations["syscall"].astype("string")),
    )
    ambiguous = (told["evidence"] == "ambiguous").sum()
    print(f"ambiguous: {ambiguous} of {len(told)}")
    assert ambiguous * 1000 <= len(told)
    certain = told[told["evidence"] != "ambiguous"]
    assert (certain["place"] == certain["source"].str.removeprefix("loop")).all()
    assert (
        certain["call"] == certain["action"].map({"attach": "mount", "detach": "umount2"})
    ).all()
    assert (certain["tid"] == certain["made_by"]).all()
    # Each operation has its effects in all of them: not one less, and one of the next.
    sizes = certain.groupby("seq").size()
    assert set(sizes) == {1 + receivers}
    by_thread = certain[certain["action"] == "attach"].groupby("made_by").size() / (1 + receivers)
    assert by_thread.astype(int).to_dict() == made
    assert isinstance(by_thread, pd.Series)


def test_no_owner_is_wrong_in_a_namespace_that_is_not_watched_yet(
    in_namespace, tmp_path: Path
) -> None:
    """Born and gone before the recorder looks: only the kernel's lists tell, and they overlap."""
    with Witness() as witness:
        in_namespace(
            f"""
            mkdir shared
            unshare -m --propagation private sh -c '
                mount -t tmpfs shared shared
                python3 {LOOPS} $PWD/shared 3 1 threads >made'
            """
        )
    made = sum(int(line.split()[1]) for line in (tmp_path / "made").read_text().splitlines())
    operations = {row["seq"]: row for row in witness.rows["operations"]}
    effects = [row for row in witness.rows["effects"] if row["source"].startswith("loop")]
    counts = Counter((row["action"], row["evidence"]) for row in effects)
    print(made, counts)
    for action in ("attach", "detach"):
        told = [row["mnt_id_unique"] for row in effects if row["action"] == action]
        assert len(told) == made
        assert len(set(told)) == made or not tells_unique_ids()
    for row in effects:
        if row["evidence"] == "kernel":
            place = operations[row["seq"]]["path"].rpartition("/")[2]
            assert place == row["source"].removeprefix("loop"), [
                row[c]
                for c in (
                    "action",
                    "via",
                    "mountpoint",
                    "source",
                    "root",
                    "mnt_id_unique",
                    "parent_path",
                    "copy_of_unique",
                )
            ]
    # How many are, depends on how often calls overlap.
    assert counts["detach", "ambiguous"] * 3 < made
