# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What all pictures have in common: they are small, they say what is missing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.plots import Plots
from mnttrace.analysis.plots.parts import MOST_MARKS
from mnttrace.analysis.recording import Recording
from mnttrace.errors import MissingPrerequisite
from tests.unit.analysis.plots import made
from tests.unit.analysis.plots.charts import marks, mounts_in, subtitle

PICTURES = ["timeline", "graph", "heatmap", "growth", "latency"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    tables = made.many(namespaces=4, operations=200, seconds=1)
    return made.write(tmp_path_factory.mktemp("small") / "run.mnttrace", tables)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    tables = made.many(namespaces=200, operations=100_000)
    return made.write(tmp_path_factory.mktemp("large") / "run.mnttrace", tables)


@pytest.mark.parametrize("picture", PICTURES)
def test_long_recordings_have_few_marks_and_say_so(large: Recording, picture: str) -> None:
    chart = getattr(large.plot, picture)()
    assert 20 < marks(chart) <= MOST_MARKS
    told = {"timeline": "share the last lane", "heatmap": "share the last lane"}
    told |= {"growth": "of 193 others the largest", "graph": "left out", "latency": "100,000 calls"}
    assert told[picture] in subtitle(chart)


def test_labels_do_not_get_out_of_expressions(tmp_path: Path) -> None:
    name = '"][0]; datum.x = "'
    tables = {"operations": [made.operation(1, 5, 10)], "namespaces": [made.namespace(5, name)]}
    spec = made.write(tmp_path / "run.mnttrace", tables).plot.timeline().to_dict()
    expression = spec["layer"][0]["encoding"]["y"]["axis"]["labelExpr"]
    literal = expression.removesuffix("[datum.value]")
    assert json.loads(literal) == [f"{name} · 1"]


@pytest.mark.parametrize(
    ("kind", "touches"),
    [
        ("lost_operation", set(PICTURES)),
        ("lost_mounts", {"timeline", "graph", "heatmap", "growth"}),
        ("lost_path", {"timeline", "graph"}),
        ("sent_operation", set()),
    ],
)
def test_losses_are_said_where_they_matter(tmp_path: Path, kind: str, touches: set[str]) -> None:
    tables = made.many(namespaces=3, operations=40, seconds=1)
    run = made.write(tmp_path / "run.mnttrace", tables, losses={kind: 1234, "cut_walk": 0})
    said = {name for name in PICTURES if "1234 " in subtitle(getattr(run.plot, name)())}
    assert said == touches


def test_a_recording_that_was_not_closed_says_so(tmp_path: Path) -> None:
    made.write(tmp_path / "run.mnttrace", made.many(namespaces=3, operations=40, seconds=1))
    meta = tmp_path / "run.mnttrace" / "meta.json"
    meta.write_text(meta.read_text().replace('"complete": true', '"complete": false'))
    assert "not closed" in subtitle(Recording(tmp_path / "run.mnttrace").plot.growth())


def test_altair_takes_all_columns_of_a_recording(small: Recording) -> None:
    """Nullable numbers, categories, Arrow's text and times in UTC come through as they are."""
    import altair as alt

    frame = small.effects.head(3)
    chart = alt.Chart(frame).mark_point().encode(x="ts:T", y="seq:Q")
    (rows,) = chart.to_dict()["datasets"].values()
    assert [row["ns_id"] for row in rows] == frame["ns_id"].to_list()
    assert [row["master"] for row in rows] == [
        None if pd.isna(group) else group for group in frame["master"]
    ]
    assert [row["action"] for row in rows] == frame["action"].to_list()
    assert [pd.Timestamp(row["ts"]).value for row in rows] == [at.value for at in frame["ts"]]


def test_pictures_need_altair(small: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "altair" else real(name)
    )
    with pytest.raises(MissingPrerequisite) as caught:
        Plots(small)
    assert "mnttrace[notebooks]" in caught.value.hint


def test_a_recording_is_read_without_altair(small: Recording) -> None:
    code = (
        "import sys; sys.modules['altair'] = None\n"
        "from mnttrace.analysis.recording import Recording\n"
        f"print(len(Recording({str(small.directory)!r}).operations))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200"]


@pytest.mark.parametrize("picture", PICTURES)
def test_tables_alone_have_pictures(tmp_path: Path, picture: str) -> None:
    """What is imported has neither operations nor unique ids."""
    ids = {"mnt_id_unique": None, "shared": 1}
    tables = {
        "namespaces": [made.namespace(made.HOST, "host", "host"), made.namespace(5, "web")],
        "snapshots": [made.snapshot(1, made.HOST), made.snapshot(2, 5)],
        "mounts": [made.mount(n, at, 7, "/", **ids) for n, at in ((1, made.HOST), (2, 5))],
    }
    chart = getattr(made.write(tmp_path / "run.mnttrace", tables).plot, picture)()
    if picture == "graph":
        assert {row["namespace"] for row in mounts_in(chart)} == {"host", "web"}
    else:
        assert marks(chart) == 1  # the words
