# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`Recording.sql`, against what pandas says."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.names import labels
from mnttrace.analysis.recording import Recording
from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.recording.schema import COLUMNS


def test_tables_are_those_of_the_recording(recorded: Recording) -> None:
    for table in [*COLUMNS, "propagations"]:
        wanted = getattr(recorded, table)
        found = recorded.sql(f"select * from {table}")
        if table == "namespaces":
            shown = dict(zip(found["ns_id"], found.pop("label"), strict=True))
            assert shown == labels(recorded).to_dict()
        if "ts" in wanted:  # DuckDB's times are in microseconds
            assert ((wanted["ts"] - found["ts"]).abs() < pd.Timedelta("1us")).all()
            wanted, found = wanted.drop(columns="ts"), found.drop(columns="ts")
        as_text = [frame.astype("string[pyarrow]") for frame in (wanted, found)]
        pd.testing.assert_frame_equal(*[frame.astype(object).fillna("") for frame in as_text])
        assert "object" not in found.dtypes.astype("str").tolist()


def test_views_say_what_pandas_says(recorded: Recording) -> None:
    leaks = recorded.leaks
    found = recorded.sql("select * from open_leaks")
    assert len(found) == (leaks["present"] > 0).sum() > 0
    assert list(found["mountpoint"]) == list(leaks.loc[leaks["present"] > 0, "mountpoint"])

    copies = recorded.propagations
    groups = recorded.sql("select * from busiest_peer_groups").set_index("peer_group")
    assert groups["attached"].sum() == (copies["action"] == "attach").sum() > 0
    assert groups["detached"].sum() == (copies["action"] == "detach").sum()
    for group, rows in copies.groupby("via_group"):
        assert groups.loc[group, "namespaces"] == rows["dst_ns_id"].nunique()
        assert groups.loc[group, "operations"] == rows["seq"].nunique()

    operations = recorded.operations
    longest = recorded.sql("select * from longest_calls")
    assert len(longest) == len(operations)
    assert longest["milliseconds"].is_monotonic_decreasing
    assert longest["milliseconds"].iloc[0] == operations["latency"].max() / 1e6

    failures = recorded.sql("select * from failures_by_process")
    assert failures["failures"].sum() == (operations["error"] != "").sum() > 0
    assert "ENOENT" in set(failures["error"])

    sizes = recorded.sql("select * from mounts_per_namespace").set_index("ns_id")
    tables = last_tables(recorded)
    assert sizes["mounts"].to_dict() == tables.groupby("ns_id").size().to_dict()
    assert sizes["shared"].sum() == tables["shared"].notna().sum()
    assert sizes["label"].to_dict() == labels(recorded)[sizes.index].to_dict()
