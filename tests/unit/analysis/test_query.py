# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace query`, and `Recording.sql`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from mnttrace.analysis.query.sql import MADE, VIEWS
from mnttrace.errors import BadInput, RecordingError
from mnttrace.recording.schema import COLUMNS

OPERATIONS = [
    {
        **{"seq": seq, "monotonic": seq * 10, "ts": seq * 10**9, "latency": latency},
        **{"syscall": "mount", "error": error, "pid": pid, "comm": f"p{pid}"},
        **{"ns": 1, "ns_id": 1, "path": f"/{seq}"},
    }
    for seq, latency, error, pid in [
        (1, 5, "", 10),
        (2, 900, "EBUSY", 10),
        (3, 7, "EBUSY", 10),
        (4, 8, "EINVAL", 11),
        (5, 2**63, "", 11),
    ]
]


# What tables hold


def test_views_of_a_small_recording(write) -> None:
    run = write(operations=OPERATIONS)
    failures = run.sql("select pid, error, failures, last_path from failures_by_process")
    assert failures.values.tolist() == [[10, "EBUSY", 2, "/3"], [11, "EINVAL", 1, "/4"]]
    assert run.sql("select seq from longest_calls limit 2")["seq"].tolist() == [5, 2]


def test_every_view_can_be_asked_of_an_empty_recording(write) -> None:
    run = write()
    for table in [*COLUMNS, *MADE, *VIEWS]:
        assert run.sql(f"select * from {table}").empty, table


def test_everything_is_listed(write) -> None:
    listed = set(write().sql("show tables")["name"])
    assert listed == {*COLUMNS, *MADE, *VIEWS}


def test_a_recording_that_is_still_written(write) -> None:
    run = write(close=False, operations=OPERATIONS)
    assert not list(run.directory.glob("*.parquet"))
    assert run.sql("select count(*) as n from operations")["n"].tolist() == [5]


def test_a_query_reads_the_columns_that_it_needs(write) -> None:
    """Those of which the bytes in the file are no more what they were are in no one's way."""
    run = write(operations=OPERATIONS)
    file = run.directory / "operations.parquet"
    group = pq.read_metadata(file).row_group(0)
    parts = [group.column(n) for n in range(group.num_columns)]
    with file.open("r+b") as out:
        for part in parts:
            if part.path_in_schema not in ("pid", "latency"):
                out.seek(part.dictionary_page_offset or part.data_page_offset)
                out.write(b"\xff" * part.total_compressed_size)
    slow = run.sql("select pid, max(latency) as most from operations group by pid order by pid")
    assert slow["most"].tolist() == [900, 2**63]
    with pytest.raises(RecordingError, match="damaged"):
        run.sql("select path from operations")


def test_leaks_are_not_looked_for_unless_they_are_asked_for(write, monkeypatch) -> None:
    run = write(operations=OPERATIONS)
    asked = []
    monkeypatch.setitem(
        MADE, "leaks", lambda run: asked.append(run) or pd.DataFrame({"present": [1]})
    )
    run.sql("select * from busiest_peer_groups")
    assert not asked
    run.sql('select * from "LEAKS"')
    assert asked


# What comes out


def test_types_that_pandas_has_no_name_for(write) -> None:
    run = write(operations=OPERATIONS)
    found = run.sql(
        """select sum(seq) as whole, sum(latency) * 4 as large, 2.0 as decimal, max(ts) - min(ts)
            as length, date '2024-02-29' as day, [1, null] as list, 'a'::blob as blob, null as none,
            interval '1 month -2 days' as months, seq, seq from operations group by all
            order by seq limit 1"""
    )
    assert "object" not in found.dtypes.astype("str").tolist()
    assert list(found.columns)[-2:] == ["seq", "seq_1"]
    row = found.iloc[0]
    assert (row["whole"], row["decimal"], row["blob"]) == (1, 2, "61")
    assert (found["whole"].dtype, found["decimal"].dtype) == ("Int64", "float64")
    assert row["large"] == 20
    assert str(row["day"]) == "2024-02-29"
    assert row["months"] == pd.Timedelta(days=28)
    assert run.sql("select max(ts) - min(ts) as x from operations")["x"][0] == pd.Timedelta("4s")
    assert run.sql("select sum(latency) * 4 as x from operations")["x"][0] > 2.0**64
    assert run.sql("select null::interval as x, seq from operations")["x"].isna().all()


def test_a_table_for_people(write, mnttrace) -> None:
    odd = OPERATIONS[0] | {"path": "a\x1b[31mb\n", "comm": "[red]x"}
    write(operations=[odd])
    done = mnttrace("query", "run.mnttrace", "select seq, path, comm, error, ts from operations")
    assert done.returncode == 0
    head, rule, row = [line for line in done.stdout.splitlines() if line.strip()]
    assert head.split() == ["seq", "path", "comm", "error", "ts"]
    assert set(rule.strip()) == {"─"}
    assert row.split() == ["1", "a\\x1b[31mb\\n", "[red]x", "1970-01-01", "00:00:01+00:00"]


def test_a_file_is_as_wide_as_it_has_to_be(write, mnttrace) -> None:
    write(operations=[OPERATIONS[0] | {"path": "/long" * 100}])
    done = mnttrace("query", "run.mnttrace", "select path, seq from operations")
    assert f"  {'/long' * 100}     1" in done.stdout


def test_a_long_answer_is_cut_for_people_alone(write, mnttrace) -> None:
    write()
    asked = "select range as x from range(1500)"
    assert "500 more rows" in mnttrace("query", "run.mnttrace", asked).stdout
    assert len(mnttrace("query", "run.mnttrace", asked, "--csv").stdout.splitlines()) == 1501
    assert len(json.loads(mnttrace("query", "run.mnttrace", asked, "--json").stdout)) == 1500


def test_json_and_csv(write, mnttrace) -> None:
    write(operations=OPERATIONS)
    asked = "select seq, ts, nullif(error, '') as error from operations where seq < 3"
    assert json.loads(mnttrace("query", "run.mnttrace", asked, "--json").stdout) == [
        {"seq": 1, "ts": "1970-01-01T00:00:01.000000Z", "error": None},
        {"seq": 2, "ts": "1970-01-01T00:00:02.000000Z", "error": "EBUSY"},
    ]
    as_csv = pd.read_csv(io.StringIO(mnttrace("query", "run.mnttrace", asked, "--csv").stdout))
    assert as_csv["seq"].tolist() == [1, 2]
    assert as_csv["error"].tolist()[1] == "EBUSY"


# What is refused


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_text('/etc/passwd')",
        "select * from read_parquet('{run}/operations.parquet')",
        "select * from glob('/*')",
        "install httpfs",
        "load httpfs",
        "copy operations to '{out}'",
        "copy (select 1) to '{run}/operations.parquet'",
        "attach '{out}'",
        "export database '{out}'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set temp_directory = '{out}'",
        "pragma enable_profiling = 'json'; pragma profiling_output = '{out}'",
        "select 1; copy (select 1) to '{out}'",
    ],
)
def test_nothing_but_the_recording_is_in_reach(write, tmp_path: Path, query: str) -> None:
    run = write(operations=OPERATIONS)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput):
        run.sql(query.format(run=run.directory, out=tmp_path / "out"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_query_sees_nothing_of_the_program(write, monkeypatch) -> None:
    monkeypatch.setattr(
        "mnttrace.analysis.query.sql.secret", pd.DataFrame({"x": [1]}), raising=False
    )
    with pytest.raises(BadInput, match="secret does not exist"):
        write().sql("select * from secret")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("select nope from operations", 'Candidate bindings: "'),
        ("select * from nowhere", "nowhere does not exist"),
        ("select [1] - [1]", "No function matches"),
        ("select path::int from operations", "\\x1b[2J"),
    ],
)
def test_errors_are_one_line(write, mnttrace, query: str, said: str) -> None:
    write(operations=[OPERATIONS[0] | {"path": "\x1b[2J\n"}])
    done = mnttrace("query", "run.mnttrace", query)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mnttrace: ")
    assert said in line
    assert len(line) < 400
    assert line.isprintable()


def test_without_duckdb(write, mnttrace, tmp_path: Path) -> None:
    write()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "duckdb.py").write_text("raise ImportError('hidden')")
    path = f"{tmp_path / 'hidden'}:{':'.join(sys.path)}"
    done = mnttrace("query", "run.mnttrace", "select 1", PYTHONPATH=path)
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "pip install 'mnttrace[sql]'" in line


def test_a_damaged_table_names_itself(write) -> None:
    run = write(operations=OPERATIONS)
    (run.directory / "mounts.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(RecordingError, match="mounts is damaged"):
        run.sql("select 1")
