# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The page of a report, in a real browser: what it shows, and what it never does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from playwright.sync_api import expect

from mnttrace.analysis.recording import Recording
from mnttrace.linux.text import clean
from mnttrace.report.html.page import page
from mnttrace.report.html.tables import MOST
from mnttrace.report.text import safe
from tests.short import some
from tests.unit.report.written import GROUP, write

# Each is what a mount, a process or a host can be called; a script among them would say so.
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style><style>*{display:none}</style>",
    '"><img src=x onerror=alert(3)>',
    "' onmouseover='alert(4)",
    "<!--<script>",
    "${alert(5)}$data$$",
    "{{alert(6)}}",
    "&lt;b&gt;&amp;",
    "two\nlines\r\x00\x1b[31m",
    "right\u202eot-left\u2066",
    "ends\u2028lines\u2029",
    "not UTF-8 \udcff\udc80",
    "javascript:alert(7)",
]


@pytest.fixture
def written(tmp_path: Path):
    """`written(operations, **options)` makes a recording and its page."""

    def make(operations: int, **options: object) -> tuple[Recording, Path]:
        run = write(tmp_path / "lab.mnttrace", operations, **options)
        file = tmp_path / "lab.html"
        file.write_text(page(run), encoding="utf-8")
        return run, file

    return make


def test_the_summary_and_its_warnings(written, browse) -> None:
    run, file = written(300, losses={"lost_operation": 1234, "sent_path": 5})
    text = browse(file).page.locator("#summary").inner_text()
    assert "lab, Linux 6.18.0" in text
    assert re.search(r"length\s+2\.5 s", text)
    failed = sum(1 for error in run.operations["error"] if error)
    assert re.search(rf"operations\s+300, {failed} failed", text)
    assert re.search(r"leaks\s+1 residue", text)
    assert "1234 calls are missing" in text


def test_a_whole_recording_warns_of_nothing(written, browse) -> None:
    _, file = written(3)
    assert browse(file).page.locator("[role=alert]").count() == 0


def test_a_recording_that_was_not_closed_says_so(tmp_path: Path, browse) -> None:
    meta = write(tmp_path / "lab.mnttrace", 3).directory / "meta.json"
    meta.write_text(meta.read_text().replace('"complete": true', '"complete": false'))
    (tmp_path / "lab.html").write_text(page(Recording(meta.parent)))
    assert "not closed" in browse(tmp_path / "lab.html").page.locator("[role=alert]").inner_text()


def test_a_leak_is_told_with_cause_and_remedy(written, browse) -> None:
    _, file = written(7)
    story = browse(file).page.locator("#leak-1")
    assert story.locator("summary").inner_text().startswith("residue container→host: tmpfs at ")
    told = dict(
        zip(
            story.locator("dt").all_inner_texts(),
            [text.strip() for text in story.locator("dd").all_inner_texts()],
            strict=True,
        )
    )
    assert told["in"] == "host"
    assert told["made by"].startswith("mount[4242] in web (mnt:[2000]): mount on /data/0")
    assert told["propagated through"] == f"peer group {GROUP}, from /data to its peer /srv/data"
    there = [f"/srv/data/{number}" for number in range(3)]
    assert re.findall(r"/srv/data/\d+", told["still there"]) == there
    # The container has its own of two of them: these stay.
    first, cut, *others, cut_off = told["what to do now"].splitlines()
    assert [first, *others] == [f"umount {path}" for path in there]
    assert cut == "mount -N 200 --make-private /data"
    assert cut_off.startswith("# cut off from their peers: ")
    # The recording is made up, and its tables are not those that the model has.
    assert told["to keep it from happening again"].startswith("not tried: ")


def test_a_leaked_mount_in_the_tree_leads_to_its_leak(written, browse) -> None:
    run, _ = written(3)
    # Who looked at the table when the copy was there.
    run.leaks["mount_ids"] = "101"
    file = run.directory.with_suffix(".html")
    file.write_text(page(run))
    opened = browse(file)
    mark = opened.page.locator(".tree .leaked")
    assert mark.evaluate("mark => mark.parentElement.querySelector('code').textContent") == (
        "/srv/data"
    )
    mark.click()
    assert opened.page.locator(":target").get_attribute("id") == "leak-1"


def test_trees_fold(written, browse) -> None:
    _, file = written(3)
    trees = browse(file).page.locator(".tree")
    assert trees.count() == 2
    host, web = trees.nth(0), trees.nth(1)
    volume = host.get_by_text("/srv/data", exact=True)
    assert volume.is_visible()
    host.locator("> summary").press("Enter")
    assert not volume.is_visible()
    assert not web.get_by_text("/data", exact=True).is_visible()
    web.locator("> summary").click()
    assert web.get_by_text("/data", exact=True).is_visible()


def test_tables_sort_as_pandas_does(written, browse) -> None:
    run, file = written(60)
    opened = browse(file)
    head = opened.page.locator("[data-table=operations] th", has_text="µs")
    by = run.operations.assign(us=run.operations["latency"] // 1000)
    for direction in ("ascending", "descending"):
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == direction
        wanted = by.sort_values("us", ascending=direction == "ascending", kind="stable")
        shown = opened.column("operations", "operation")
        assert shown == wanted["seq"].astype(str).head(len(shown)).to_list()
        assert len(shown) > 20
    # And by text.
    failures = opened.page.locator("[data-table=failures] th", has_text="error")
    failures.locator("button").click()
    errors = run.operations["error"][run.operations["error"] != ""]
    shown = opened.column("failures", "error")
    assert shown == sorted(errors)[: len(shown)]
    assert set(shown) == {"EBUSY", "ENOENT"}


def test_what_has_no_value_comes_last_both_ways(tmp_path: Path, browse) -> None:
    run = write(tmp_path / "lab.mnttrace", 3)
    run.namespaces.loc[0, "pid"] = pd.NA
    file = tmp_path / "lab.html"
    file.write_text(page(run), encoding="utf-8")
    opened = browse(file)
    for _ in range(2):
        opened.page.locator("[data-table=namespaces] th button", has_text="pid").click()
        assert opened.column("namespaces", "pid") == ["200", ""]


def test_tables_filter_as_pandas_does(written, browse) -> None:
    run, file = written(600)
    opened = browse(file)
    section = opened.page.locator("[data-table=operations]")
    section.locator("input").press_sequentially("UMOUNT2 /data/1")
    found = run.operations[
        (run.operations["syscall"] == "umount2") & run.operations["path"].str.contains("/data/1")
    ]
    assert section.locator("output").inner_text() == f"{len(found)} of 600 rows"
    shown = opened.column("operations", "operation")
    assert shown == found["seq"].astype(str).head(len(shown)).to_list()
    section.locator("input").fill("no such thing")
    assert opened.table("operations") == []
    section.locator("input").fill("")
    assert section.locator("output").inner_text() == "600 of 600 rows"


def test_every_table_has_what_the_frames_have(written, browse) -> None:
    run, file = written(30)
    opened = browse(file)
    assert opened.column("operations", "operation") == run.operations["seq"].astype(str).to_list()
    carried = run.propagations
    assert opened.column("propagations", "receiver") == carried["receiver_path"].to_list()
    assert opened.column("propagations", "group") == [str(GROUP)] * len(carried)
    assert opened.column("propagations", "mount point") == carried["mountpoint"].to_list()
    assert opened.column("namespaces", "name") == ["host", "web"]
    failed = run.operations[run.operations["error"] != ""]
    assert opened.column("failures", "operation") == failed["seq"].astype(str).to_list()
    assert opened.column("failures", "error") == failed["error"].to_list()
    assert opened.column("operations", "time")[0] == "14:13:20.000001"


SHAPE = "[...document.querySelectorAll('*')].map(one => one.tagName)"


@pytest.mark.parametrize("hostile", some(HOSTILE, 3), ids=ascii)
def test_no_name_becomes_markup(tmp_path: Path, browse, hostile: str) -> None:
    harmless = write(tmp_path / "harmless.mnttrace", 9)
    attack = write(tmp_path / "attack.mnttrace", 9, name=lambda text: hostile + text)
    shapes = []
    for run in (harmless, attack):
        run.plot = drawn_from(run)
        file = run.directory.with_suffix(".html")
        file.write_text(page(run), encoding="utf-8")
        opened = browse(file)
        opened.page.wait_for_function("document.querySelectorAll('canvas').length === 2")
        shapes.append(opened.page.evaluate(SHAPE))
    assert shapes[0] == shapes[1]
    # And it is there to be read, letter for letter.
    text = safe(clean(hostile))
    for place in ("#leak-1 dd", ".tree code", "[data-table=operations] td"):
        assert any(text in part for part in opened.page.locator(place).all_text_contents())
    assert opened.column("namespaces", "name") == [text + "web" if n else "host" for n in range(2)]
    host = f"{hostile}lab, Linux 6.18.0"
    told = host if host.isprintable() else repr(host)
    assert opened.page.locator("#summary td").first.text_content() == told


def test_no_name_of_a_recording_becomes_markup(tmp_path: Path, browse) -> None:
    run = write(tmp_path / "</title><script>alert(1)</script>&$data".replace("/", "\u2215"), 3)
    file = tmp_path / "lab.html"
    file.write_text(page(run), encoding="utf-8")
    opened = browse(file)
    assert opened.page.locator("h1").text_content() == run.directory.name
    assert opened.page.title() == f"{run.directory.name} · mnttrace"


def test_a_large_recording_opens_with_few_elements(written, browse) -> None:
    run, file = written(100_000, busy="EACCES")
    assert len(run.operations) == 100_000
    opened = browse(file)
    assert opened.elements() < 3_000
    section = opened.page.locator("[data-table=operations]")
    assert section.locator("output").inner_text() == f"{MOST:,} of {MOST:,} rows"
    note = section.locator(".note").inner_text()
    assert note.startswith(f"{100_000 - MOST:,} more rows are left out: ")
    assert f"mnttrace export --table operations {run.directory}" in note
    section.locator(".window").evaluate("window => { window.scrollTop = window.scrollHeight }")
    last = section.locator("tbody tr:not(.space)").last
    expect(last.locator("td").first).to_have_text(str(MOST))
    assert last.get_attribute("aria-rowindex") == str(MOST + 1)
    assert opened.elements() < 3_000
    section.locator("input").fill("ENOENT")
    expect(section.locator("output")).to_have_text(f"{MOST // 3:,} of {MOST:,} rows")


def drawn_from(run: Recording) -> SimpleNamespace:
    """Charts with text of the recording where charts have text."""
    alt = pytest.importorskip("altair")
    points = run.operations[["seq", "latency", "path"]].head(20).astype({"path": "object"})
    chart = alt.Chart(points, title=str(points["path"].iloc[0]), width=300)
    spots = chart.mark_point().encode(x="seq:Q", y="path:N", color="path:N", tooltip="path:N")
    bars = chart.mark_bar().encode(x="seq:O", y="latency:Q").transform_filter("datum.latency > 0")
    return SimpleNamespace(timeline=lambda: spots, graph=lambda: bars)


def test_pictures_are_drawn(tmp_path: Path, browse) -> None:
    run = write(tmp_path / "lab.mnttrace", 30)
    run.plot = drawn_from(run)
    file = tmp_path / "lab.html"
    file.write_text(page(run), encoding="utf-8")
    opened = browse(file, color_scheme="light")
    canvases = opened.page.locator("#pictures figure canvas")
    expect(canvases).to_have_count(2)
    for canvas in canvases.all():
        box = canvas.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
        # The marks' own color, as Vega-Lite's default is or its first category.
        assert canvas.evaluate(COUNT_COLORED) > 100
    look = "canvas => getComputedStyle(canvas).filter"
    assert canvases.first.evaluate(look) == "none"
    opened.page.emulate_media(color_scheme="dark")
    assert canvases.first.evaluate(look).startswith("invert(")


COUNT_COLORED = """canvas => {
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let colored = 0;
  for (let at = 0; at < all.length; at += 4) {
    colored += all[at + 3] > 0 && Math.abs(all[at] - all[at + 2]) > 40;
  }
  return colored;
}"""


def test_without_altair_the_report_says_so(tmp_path: Path, browse, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    run = write(tmp_path / "lab.mnttrace", 3)
    file = tmp_path / "lab.html"
    file.write_text(page(run), encoding="utf-8")
    told = browse(file).page.locator("#pictures").inner_text()
    assert "Pictures need Altair and vl-convert-python: altair is missing." in told


def test_it_prints_more_than_is_in_sight(written, browse) -> None:
    _, file = written(600)
    opened = browse(file)
    assert len(opened.table("operations")) < 100
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown = opened.table("operations")
    assert len(shown) == 201
    assert shown[-1] == ["and 400 more"]
    assert not opened.page.locator("nav").is_visible()
    opened.page.emulate_media(media="screen")
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(opened.table("operations")) < 100


def test_dark_and_light(written, browse) -> None:
    _, file = written(3)
    back = "getComputedStyle(document.body).backgroundColor"
    shown = [browse(file, color_scheme=scheme).page.evaluate(back) for scheme in ("light", "dark")]
    light, dark = (int(re.findall(r"\d+", color)[0]) for color in shown)
    assert light > 200
    assert dark < 60


@pytest.mark.kernel
def test_a_real_leak(in_namespace, tmp_path: Path, browse) -> None:
    in_namespace("""
        mkdir -p volume/x; mount -t tmpfs volume volume; mkdir volume/x
        echo 'unshare -m --propagation unchanged sh -c "mount -t tmpfs inner volume/x"' >script
        $MNTTRACE record -o run.mnttrace -- sh script
        $MNTTRACE report run.mnttrace
        grep -q " $PWD/volume/x " /proc/self/mountinfo
    """)
    opened = browse(tmp_path / "run.html")
    story = opened.page.locator(".leak", has_text=f"{tmp_path}/volume/x")
    assert story.count() == 1
    text = story.inner_text()
    assert f"umount {tmp_path}/volume/x" in text
    assert "mount -t tmpfs inner volume/x" in text
    assert opened.page.locator(".tree .leaked").count() >= 1
