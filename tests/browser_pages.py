"""What tests of pages ask of a real browser."""

from __future__ import annotations

from typing import Any


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
