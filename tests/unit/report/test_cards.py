# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What notebooks show: a recording, a leak, a mount tree."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.errors import BadInput
from mnttrace.report import cards
from tests.unit.report.written import write

# Without an end tag (https://html.spec.whatwg.org/multipage/syntax.html#void-elements).
VOID = {"br", "input", "meta", "col"}


class Outline(HTMLParser):
    """The open elements at each text; fails where they do not nest."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[int, str]] = []
        self.tags: set[str] = set()
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {name for name, _ in attrs} & {"style", "onclick", "src"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open.count("details"), data))


@pytest.fixture
def run(tmp_path: Path):
    return write(tmp_path / "lab.mnttrace", 7, losses={"lost_path": 2})


def test_a_recording_is_a_card(run) -> None:
    shown = Outline(run._repr_html_())
    texts = [text for _, text in shown.texts]
    assert texts[0] == "Incomplete"
    assert texts[1].startswith("2 paths are missing")
    told = dict(zip(texts[2::2], texts[3::2], strict=True))
    assert told["host"] == "lab, Linux 6.18.0"
    assert told["length"] == "2.5 s"
    assert told["operations"] == "7, 3 failed"
    assert told["namespaces"] == "2"
    assert told["leaks"] == "1 residue"


def test_a_leak_shows_its_story(run) -> None:
    card = cards.leak(run, 1)
    texts = [text for _, text in Outline(card._repr_html_()).texts]
    assert texts[0] == "residue"
    # The container is process 200, and has its own of two of them: these stay.
    [commands] = [text for text in texts if text.startswith("umount")]
    assert commands.splitlines() == [
        "umount /srv/data/0",
        "mount -N 200 --make-private /data",
        "umount /srv/data/1",
        "umount /srv/data/2",
        "# cut off from their peers: ext4 /dev/sda at /data in web",
    ]
    with pytest.raises(BadInput, match="no leak 2"):
        cards.leak(run, 2)


def test_a_tree_has_each_mount_below_its_parent(run) -> None:
    shown = Outline(cards.tree(run, "web")._repr_html_())
    depths = {text: depth for depth, text in shown.texts}
    assert depths["/"] == 2
    assert depths["/data"] == 2
    assert "/srv/data" not in depths
    with pytest.raises(BadInput, match="no namespace is called 'nobody'"):
        cards.tree(run, "nobody")


def test_mounts_can_be_stacked_deeper_than_python_calls(run) -> None:
    row = last_tables(run).iloc[[0]]
    count = sys.getrecursionlimit() * 2
    table = pd.concat([row] * count, ignore_index=True)
    table["mount_id"] = range(1, count + 1)
    table["parent_id"] = range(count)
    shown = Outline(cards.mount_tree("deep", table, {}, is_open=True))
    depths = [depth for depth, text in shown.texts if text == "/"]
    # The last one has nothing below it, and does not fold.
    assert depths == [*range(2, count + 1), count]


def test_names_are_text(tmp_path: Path) -> None:
    attack = "<img src=x onerror=alert(1)>\n\u202e"
    run = write(tmp_path / "lab.mnttrace", 3, name=lambda text: attack + text)
    for card in (run._repr_html_(), cards.leak(run, 1), cards.tree(run, "host")):
        shown = Outline(card)
        assert "img" not in shown.tags
        assert any("<img src=x onerror=alert(1)>" in text for _, text in shown.texts)
        assert "\u202e" not in card
