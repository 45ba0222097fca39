# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Each path of tests that something names is there: what runs tests by a name that is gone runs
none of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import CHECKOUT

NAMING = sorted(
    path
    for pattern in (
        "Makefile",
        ".ci/run",
        "*.md",
        "docs/**/*.md",
        "scripts/*",
        "pyproject.toml",
        "tests/guests/*.py",
    )
    for path in CHECKOUT.glob(pattern)
    if path.is_file()
)
_PATH = re.compile(r"\btests/[\w./*{},-]*[\w}*/]")
_MODULE = re.compile(r"\btests(?:\.[a-z]\w*)+")
_BRACES = re.compile(r"\{([^{}]*)\}")


def expanded(path: str) -> Iterator[str]:
    """Each path of one with `{a,b}` in it."""
    parts = _BRACES.split(path)
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    yield from map("".join, itertools.product(*choices))


def named(text: str) -> set[str]:
    """The paths of tests that a text names; words in capitals stand for names."""
    found = {path for one in _PATH.findall(text) for path in expanded(one)}
    return {path for path in found if not re.search("[A-Z]{2}", path)}


@pytest.mark.parametrize("path", NAMING, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_each_path_that_is_named_is_there(path: Path) -> None:
    gone = {one for one in named(path.read_text()) if not any(CHECKOUT.glob(one.rstrip("/")))}
    assert gone == set()


@pytest.mark.parametrize("path", NAMING, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_each_module_that_is_named_is_there(path: Path) -> None:
    for name in set(_MODULE.findall(path.read_text())):
        place, within = (
            CHECKOUT / one.replace(".", "/") for one in (name, name.rpartition(".")[0])
        )
        is_module = place.is_dir() or place.with_suffix(".py").is_file()
        assert is_module or within.with_suffix(".py").is_file(), name


def test_braces_and_ends_of_sentences_are_understood() -> None:
    text = "See tests/{unit,replay}/house, `tests/a_{b,c}.py`; tests/x/*.arrows, tests/truth/."
    text += " And tests/x/NAME.py"
    assert named(text) == {
        "tests/unit/house",
        "tests/replay/house",
        "tests/a_b.py",
        "tests/a_c.py",
        "tests/x/*.arrows",
        "tests/truth/",
    }


def test_something_is_named() -> None:
    files = {path.name for path in NAMING if named(path.read_text())}
    assert files >= {"Makefile", "run", "CONTRIBUTING.md", "debian13.py"}
