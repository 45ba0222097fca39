# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Each notebook runs from top to bottom, and opens in JupyterLab."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbclient import NotebookClient

from tests import CHECKOUT

NOTEBOOKS = CHECKOUT / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
# What a reader is to find in what each shows.
TOLD = {
    "01-first-recording": ["residue", "peer group", "propagated from /srv/first/volume/data"],
    "02-how-a-mount-travels": ["shared-and-slave", "/srv/travel/disk/late", "namespace-death"],
    "03-hunting-a-leak": [
        "HELD: inherited when the namespace was made",
        "umount -N ",
        "processes use it",
    ],
    "04-before-and-after-a-fix": ["residue", "gone"],
    "05-a-fleet": ["node-4", "residue", "/srv/node-4/agent/volume/a"],
}


def test_each_is_known() -> None:
    assert [path.stem for path in ALL] == list(TOLD)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq")
def test_it_runs_and_shows_what_it_is_about(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": NOTEBOOKS}}).execute()
    shown: list[Any] = []
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "stream" or output.name != "stderr", output.text
            shown.extend(output.get("data", {}).values())
    text = "\n".join(str(one) for one in shown)
    for wanted in TOLD[path.stem]:
        assert wanted in text, wanted


def test_make_opens_them_in_jupyterlab() -> None:
    server = subprocess.Popen(
        ["make", "notebooks", "ARGS=--no-browser"],
        cwd=NOTEBOOKS.parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stderr
        address = next(filter(None, (re.search(r"http://127\S+", line) for line in server.stderr)))
        lab, _, token = address[0].partition("/lab?")
        while True:  # it says where before it listens there
            try:
                answer = urlopen(f"{lab}/api/contents?{token}")
                break
            except URLError:
                assert server.poll() is None
        with answer:
            names = {one["name"] for one in json.load(answer)["content"]}
        assert names >= {path.name for path in ALL}
        with urlopen(address[0]) as page:
            assert b"JupyterLab" in page.read()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate()
