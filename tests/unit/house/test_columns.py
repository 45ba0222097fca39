# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is made from the schema is up to date, and docs/sql.md is right."""

from __future__ import annotations

import re
import runpy

import pytest

from mnttrace.analysis.query.sql import MADE, VIEWS
from mnttrace.recording.schema import COLUMNS
from tests import CHECKOUT

SQL = (CHECKOUT / "docs" / "sql.md").read_text()


def test_the_page_of_columns_is_up_to_date() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "columns.py"))
    assert script["PAGE"].read_text().splitlines() == list(script["lines"]())


def test_the_types_of_rows_are_up_to_date() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "generate_rows.py"))
    assert script["MODULE"].read_text().splitlines() == list(script["lines"]())


def test_every_table_and_view_is_told_of() -> None:
    named = set(re.findall(r"`(\w+)`", SQL))
    assert named >= {*COLUMNS, *MADE, *VIEWS}


@pytest.mark.parametrize("query", re.findall(r'query run\.mnttrace "([^"]*)"', SQL))
def test_every_example_can_be_asked(write, query: str) -> None:
    write().sql(query)


def test_there_is_an_example_of_every_view() -> None:
    asked = " ".join(re.findall(r'query run\.mnttrace "([^"]*)"', SQL))
    assert all(view in asked for view in VIEWS)
