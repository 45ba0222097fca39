# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A real browser, in which nothing but the file that it opens can be loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "google-chrome")  # those of scripts/setup.sh
# Told by the page itself, whatever it does afterwards.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Chromium without a window; a test that needs it is skipped where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        if os.environ.get("MNTTRACE_REQUIRE_KERNEL", "0") not in ("", "0"):
            pytest.fail("there is no chromium, and MNTTRACE_REQUIRE_KERNEL is set", pytrace=False)
        pytest.skip("this test lacks chromium")
    from playwright.sync_api import sync_playwright

    # Root has no sandbox to go into.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


class Opened:
    """A page that was opened, and what it did that it should not.

    Attributes:
        page: playwright's.
        requests: the addresses that it asked for.
        complaints: errors and dialogs.
    """

    def __init__(self, browser: Any, **options: Any) -> None:
        self._context = browser.new_context(**options)
        self._context.add_init_script(_WATCH)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = self._context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on(
            "console",
            lambda message: message.type == "error" and self.complaints.append(message.text),
        )

    def open(self, file: Path) -> None:
        """Open a file; all else is refused."""

        def answer(route: Any) -> None:
            if route.request.url == file.as_uri():
                route.continue_()
            else:
                route.abort()

        self._context.route("**/*", answer)
        self.page.goto(file.as_uri())
        self.page.wait_for_selector(".window tbody", state="attached")

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        self._context.close()

    def table(self, name: str) -> list[list[str]]:
        """The texts of a table's rows, of those that are in sight or near."""
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        rows = f"[data-table={name}] tbody tr:not(.space)"
        return self.page.locator(rows).evaluate_all(script)  # type: ignore[no-any-return]

    def columns(self, name: str) -> list[str]:
        return self.page.locator(f"[data-table={name}] th").all_text_contents()  # type: ignore[no-any-return]

    def column(self, name: str, column: str) -> list[str]:
        at = self.columns(name).index(column)
        return [row[at] for row in self.table(name)]

    def elements(self) -> int:
        return int(self.page.evaluate("document.querySelectorAll('*').length"))


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """`browse(file, **options)` opens a file; the options are those of a browser context.

    At the end of the test it fails if a page asked for anything else, complained, or did what its
    policy forbids.
    """
    opened: list[tuple[Path, Opened]] = []

    def browse(file: Path, **options: Any) -> Opened:
        one = Opened(chromium, **options)
        opened.append((file, one))
        one.open(file)
        return one

    yield browse
    for file, one in opened:
        told = one.requests, one.complaints, one.page.evaluate("window.violations")
        one.close()
        assert told == ([file.as_uri()], [], [])
