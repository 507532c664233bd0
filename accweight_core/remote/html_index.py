"""Read the HTML pages that servers send as listings of folders."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit


def links_below(page: str, text: str) -> dict[str, bool]:
    """Return the names directly below a page's URL that it links to, and which are folders."""
    links = _Links()
    links.feed(text)
    return {name: is_folder for name, is_folder in (_below(page, t) for t in links.targets) if name}


class _Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the target of a link."""
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _below(page: str, target: str) -> tuple[str, bool]:
    """Return name and folder flag of a link directly below the page, else an empty name."""
    try:
        here, there = urlsplit(page), urlsplit(urljoin(page, target))
    except ValueError:
        return "", False
    folder = here.path[: here.path.rfind("/") + 1]
    if (here.scheme, here.netloc) != (there.scheme, there.netloc) or there.query:
        return "", False
    rest = there.path[len(folder) :]
    name = unquote(rest.rstrip("/"))
    if not there.path.startswith(folder) or re.search(r"[/\\\0]|::", name) or name in (".", ".."):
        return "", False
    return name, rest.endswith("/")
