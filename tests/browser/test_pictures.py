# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Pictures as files, drawn by the JavaScript engine of vl-convert."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording
from tests.unit.analysis.plots import made
from tests.unit.analysis.plots.charts import colors, layers

PICTURES = ["timeline", "graph", "heatmap", "growth", "latency"]
HOSTILE = '<script>alert(1)</script>\n"],x]\\\t\u202e\udcff' + "ü" * 300


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    tables = made.many(namespaces=4, operations=200, seconds=1)
    return made.write(tmp_path_factory.mktemp("small") / "run.mnttrace", tables)


@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_become_png_and_svg(small: Recording, picture: str, tmp_path: Path) -> None:
    chart = getattr(small.plot, picture)()
    chart.save(tmp_path / "picture.png")
    chart.save(tmp_path / "picture.svg")
    assert colors(tmp_path / "picture.png") > 10
    svg = (tmp_path / "picture.svg").read_text()
    assert svg.startswith("<svg")
    assert "web-1" in svg or picture == "latency"


@pytest.mark.parametrize("picture", PICTURES)
def test_an_empty_recording_has_pictures_that_say_so(tmp_path: Path, picture: str) -> None:
    chart = getattr(made.write(tmp_path / "run.mnttrace", {}).plot, picture)()
    assert [row["text"][:3] for rows in layers(chart) for row in rows] == ["No "]
    chart.save(tmp_path / "picture.png")
    assert colors(tmp_path / "picture.png") > 10


@pytest.mark.parametrize("picture", PICTURES)
def test_hostile_names_are_text(tmp_path: Path, picture: str) -> None:
    tables = made.many(namespaces=3, operations=40, seconds=1)
    for row in tables["namespaces"]:
        row["name"] = HOSTILE
    for table in ("operations", "effects", "mounts"):
        for row in tables[table]:
            row.update(dict.fromkeys(["path", "comm", "source", "fstype"], HOSTILE))
            row["mountpoint"] = "/" + HOSTILE
            if row.get("error"):
                row.update(syscall=HOSTILE, error=HOSTILE)
    run = made.write(tmp_path / "run.mnttrace", tables, losses={HOSTILE: 1})
    chart = getattr(run.plot, picture)()
    for rows in layers(chart):
        texts = [text for row in rows for text in row.values() if isinstance(text, str)]
        assert all(text.isprintable() and len(text) < 250 for text in texts)
    assert not any(end in json.dumps(chart.to_dict()) for end in ("<s", "</", "<!"))
    # As a notebook shows it: the only script is Altair's own.
    page = str(chart._repr_mimebundle_())
    plain = str(made.write(tmp_path / "plain.mnttrace", {}).plot.latency()._repr_mimebundle_())
    assert page.count("</script") == plain.count("</script") == 1
    chart.save(tmp_path / "picture.svg")
    assert "x3cscript" in (tmp_path / "picture.svg").read_text()
