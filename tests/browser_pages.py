"""What tests of pages ask of a real browser, which is not on every machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def started() -> Iterator[Any]:
    """Start a browser without a screen; skip the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = 1280, height: int = 720) -> Iterator[Any]:
    """Open a page of ours, offline and without motion; whatever it complains of fails the test."""
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    page, complaints, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        yield page
    finally:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def width_that_fits(page: Any, width: int) -> tuple[int, int]:
    """Return the width of the content and of the window, once the content took the window's.

    Curves take another width in the frame after it, which a loaded machine draws late. Our pages
    forbid the eval that Playwright's own waiting uses for every look but the first.
    """
    found = (0, 0)
    for _ in range(400):
        found = tuple(page.evaluate("[document.documentElement.scrollWidth, innerWidth]"))
        if found[0] <= found[1] == width:
            break
        page.wait_for_timeout(50)
    return found
