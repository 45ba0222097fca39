# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Answers in a notebook: shown as the text that the command line writes."""

from __future__ import annotations

import sys
from html import escape
from typing import Any

from mnttrace.analysis.diagnosis.answers import Why
from mnttrace.report.why import lines


def show_answers() -> None:
    """If this runs in IPython, let it show what :meth:`Recording.why` returns as text."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    formatters["text/plain"].for_type(Why, _plain)
    formatters["text/html"].for_type(Why, _html)


def _plain(answer: Why, printer: Any, _cycle: bool) -> None:
    printer.text("\n".join(lines(answer)))


def _html(answer: Why) -> str:
    return f"<pre>{escape(chr(10).join(lines(answer)))}</pre>"
