# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What benchmarks/synthetic.py writes agrees with itself, and with the rules of propagation."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mnttrace.analysis.recording import Recording
from mnttrace.recording.schema import COLUMNS
from tests.unit.analysis.plain import last_tables, make, replayed, rows, shown


def test_it_is_as_large_as_was_asked_for(synthetic: Recording) -> None:
    assert len(synthetic.operations) == 2500
    assert len(synthetic.effects) >= 2500 * 4
    assert len(synthetic.namespaces) == 120
    assert {*synthetic.effects["action"]} == {"attach", "detach", "move", "change"}
    assert {*synthetic.effects["via"]} >= {"direct", "peer", "slave", "namespace-copy"}


def test_the_last_tables_are_the_first_ones_and_the_effects(synthetic: Recording) -> None:
    for _, tables in replayed(synthetic):
        end = tables
    wanted = last_tables(synthetic)
    assert shown(end) == shown(wanted)
    known = {unique: row["options"] for unique, row in end.items() if row["options"]}
    assert known == {unique: wanted[unique]["options"] for unique in known}
    assert {"ro,relatime", "rw,relatime"} == {*known.values()}


def test_ids_times_parents_and_carriers_are_real(synthetic: Recording) -> None:
    made = [row["mnt_id_unique"] for row in rows(synthetic, "effects") if row["action"] == "attach"]
    assert len(set(made)) == len(made)
    assert synthetic.operations["seq"].to_list() == list(range(1, 2501))
    assert synthetic.operations["monotonic"].is_monotonic_increasing
    carried = 0
    for effect, tables in replayed(synthetic):
        if effect["action"] != "detach" and effect["mountpoint"] != "/":
            assert tables[effect["parent_unique"]]["mountpoint"] == effect["parent_path"]
        if effect["via"] in ("peer", "slave") and effect["action"] == "attach":
            carrier, original = (tables[effect[name]] for name in ("via_unique", "copy_of_unique"))
            assert carrier["shared"] == effect["via_group"]
            assert carrier["mountpoint"] == effect["via_path"]
            assert original["parent_unique"] == effect["via_unique"]
            receiver = tables[effect["parent_unique"]]
            joins = "shared" if effect["via"] == "peer" else "master"
            assert receiver[joins] == effect["via_group"]
            carried += 1
    assert carried > 1000


def test_the_model_predicts_every_copy(synthetic: Recording) -> None:
    found = synthetic.crosscheck
    assert found.disagreements.empty
    assert found.checked > 1000
    assert not found.skipped


def pairs(leaks: pd.DataFrame) -> set[tuple[int, int]]:
    return {
        (ns, int(mount))
        for ns, mounts in zip(leaks["dst_ns_id"], leaks["mount_ids"], strict=True)
        for mount in mounts.split(",")
        if mount
    }


def test_leaks_finds_what_was_left_over(synthetic: Recording) -> None:
    made = {kind: {tuple(pair) for pair in told} for kind, told in synthetic.meta["made"].items()}
    assert all(made.values())
    leaks = synthetic.leaks
    is_held = leaks["kind"] == "held"
    assert pairs(leaks[is_held]) == made["held"]
    assert pairs(leaks[~is_held]) == made["reached"]
    assert leaks.loc[~is_held, "residue"].sum() == len(made["residue"])
    assert made["residue"] < made["reached"]


def test_the_same_arguments_give_the_same_recording(tmp_path: Path) -> None:
    first, second = (make(tmp_path / f"{name}.mnttrace", 600, 12) for name in ("one", "two"))
    assert first.meta == second.meta
    for table in COLUMNS:
        pd.testing.assert_frame_equal(first.table(table), second.table(table))
