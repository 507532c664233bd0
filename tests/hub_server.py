"""A server on loopback that speaks the protocol of the Hugging Face hub, for its real client.

It answers what the client asks: references, trees page by page, information about paths, commits,
and addresses of files. Large files are sent by another server, to which it redirects, as the hub
does; small ones it sends itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from web_server import Handler, Served, serving

Files = dict[str, bytes]

_PATHS = re.compile(
    r"/api/(?P<kind>model|dataset)s/(?P<id>[^/]+/[^/]+)/(?P<what>refs|tree|paths-info|revision|commits)"
    r"(?:/(?P<revision>[^/]+))?(?:/(?P<path>.*))?"
)
_RESOLVE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.*)")


@dataclass
class Hub:
    """A hub with one repository.

    Attributes:
        folder: Where large files are, named by their hash.
        commits: Files by the id of each commit, oldest first.
        branches: Commits by the names of branches.
        tags: Commits by the names of tags.
        token: Token that requests have to bring; none if empty.
        page: Entries on one page of a listing.
        fail: Number of requests for references that are answered with HTTP 429.
        served: The hub, and the requests that it got.
        cdn: The server of large files.
        headers: Authorizations that came with requests, by server.
    """

    folder: Path
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    token: str = ""
    page: int = 3
    fail: int = 0
    served: Served = field(init=False)
    cdn: Served = field(init=False)
    seen_at_hub: list[str] = field(default_factory=list)
    seen_at_cdn: list[str] = field(default_factory=list)

    def commit(self, files: Files, *, branch: str = "", tag: str = "") -> str:
        """Add a commit with these files, and return its id."""
        id = sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[id] = files
        self.branches |= {branch: id} if branch else {}
        self.tags |= {tag: id} if tag else {}
        for content in filter(is_large, files.values()):
            (self.folder / sha256(content).hexdigest()).write_bytes(content)
        return id

    def files_at(self, revision: str) -> tuple[str, Files] | None:
        """Return the commit of a revision and its files."""
        id = self.branches.get(revision) or self.tags.get(revision) or revision
        return (id, self.commits[id]) if id in self.commits else None


def is_large(content: bytes) -> bool:
    """Tell whether a file is kept outside git."""
    return len(content) > 300


class HubHandler(Handler):
    """Answers as the hub does."""

    hub: ClassVar[Hub]

    def do_POST(self) -> None:  # noqa: N802
        """Answer a question about paths."""
        self._counted()
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        found = self._found(_PATHS)
        if found is None:
            return
        parts, (_, files) = found
        assert parts["what"] == "paths-info"
        wanted = set(body["paths"])
        self._json([one for one in tree_of(files, "", is_deep=True) if one["path"] in wanted])

    def do_GET(self) -> None:  # noqa: N802
        """Answer a question, or send a file."""
        self._counted()
        self.hub.seen_at_hub.append(self.headers.get("Authorization", ""))
        if urlsplit(self.path).path.startswith("/api/"):
            self._api()
        else:
            self._resolve()

    def _api(self) -> None:
        parts = _PATHS.fullmatch(urlsplit(self.path).path)
        if parts and parts["what"] == "refs" and self._is_allowed(parts["id"]):
            if self.hub.fail:
                self.hub.fail -= 1
                self.plain(429, b"slow down", **{"Retry-After": "0"})
                return
            self._json(
                {
                    "branches": _refs(self.hub.branches, "heads"),
                    "tags": _refs(self.hub.tags, "tags"),
                    "converts": [],
                }
            )
            return
        found = self._found(_PATHS)
        if found is None:
            return
        parts, (id, files) = found
        if parts["what"] == "tree":
            query = parse_qs(urlsplit(self.path).query)
            is_deep = query.get("recursive") == ["true"]
            self._page(tree_of(files, unquote(parts["path"] or ""), is_deep=is_deep), query)
        elif parts["what"] == "commits":
            line = list(self.hub.commits)[: list(self.hub.commits).index(id) + 1]
            dates = {c: f"2024-01-01T00:00:{i:02}.000Z" for i, c in enumerate(self.hub.commits)}
            self._json(
                [
                    {"id": c, "authors": [], "date": dates[c], "title": "", "message": ""}
                    for c in reversed(line)
                ]
            )
        else:
            self._json({"id": parts["id"], "sha": id, "siblings": []})

    def _page(self, entries: list[dict[str, Any]], query: dict[str, list[str]]) -> None:
        start = int(query.get("cursor", ["0"])[0])
        stop = start + self.hub.page
        place = urlsplit(self.path)
        rest = "&".join(f"{key}={value[0]}" for key, value in query.items() if key != "cursor")
        following = f'<{self.hub.served.url}{place.path}?{rest}&cursor={stop}>; rel="next"'
        self._json(entries[start:stop], **({"Link": following} if stop < len(entries) else {}))

    def _resolve(self) -> None:
        found = self._found(_RESOLVE)
        if found is None:
            return
        parts, (id, files) = found
        content = files.get(unquote(parts["path"]))
        if content is None:
            self._error(404, "EntryNotFound")
        elif is_large(content):
            place = f"{self.hub.cdn.url}/{sha256(content).hexdigest()}?Signature=x%2By%3D"
            self.plain(302, b"", Location=place, **{"X-Repo-Commit": id})
        else:
            path = self.hub.folder / "small"
            path.write_bytes(content)
            self.file(path)

    def _found(self, pattern: re.Pattern[str]) -> tuple[re.Match[str], tuple[str, Files]] | None:
        parts = pattern.fullmatch(urlsplit(self.path).path)
        if parts is None:
            self.plain(404, b"no such route")
            return None
        if not self._is_allowed(parts["id"]):
            return None
        files = self.hub.files_at(unquote(parts["revision"] or "main"))
        if files is None:
            self._error(404, "RevisionNotFound")
        return (parts, files) if files else None

    def _is_allowed(self, id: str) -> bool:
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._error(401, "RepoNotFound")
            return False
        if id != "lab/net":
            self._error(404, "RepoNotFound")
        return id == "lab/net"

    def _error(self, status: int, code: str) -> None:
        self.plain(status, b"{}", **{"X-Error-Code": code, "Content-Type": "application/json"})

    def _json(self, document: object, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.plain(200, body, **{"Content-Type": "application/json"}, **headers)


def _refs(named: dict[str, str], kind: str) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": id}
        for name, id in named.items()
    ]


def tree_of(files: Files, folder: str, *, is_deep: bool) -> list[dict[str, Any]]:
    """Return the entries of a folder as the hub lists them."""
    start = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for path, content in sorted(files.items()):
        if not path.startswith(start):
            continue
        names = path.removeprefix(start).split("/")
        for depth in range(1, len(names)):
            above = start + "/".join(names[:depth])
            found[above] = {"type": "directory", "oid": sha1(above.encode()).hexdigest(),
                            "size": 0, "path": above}  # fmt: skip
        entry: dict[str, Any] = {"type": "file", "oid": sha1(content).hexdigest(),
                                 "size": len(content), "path": path}  # fmt: skip
        if is_large(content):
            oid = sha256(content).hexdigest()
            entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
        found[path] = entry
    return [
        entry
        for path, entry in sorted(found.items())
        if is_deep or "/" not in path.removeprefix(start)
    ]


@contextmanager
def hub_at(folder: Path) -> Iterator[Hub]:
    """Serve a hub meanwhile."""
    folder.mkdir()
    hub = Hub(folder)

    def note(handler: Handler, path: Path) -> bool:
        hub.seen_at_cdn.append(handler.headers.get("Authorization", ""))
        return False

    with (
        serving(folder) as cdn,
        serving(folder, type("OwnHub", (HubHandler,), {"hub": hub})) as served,
    ):
        cdn.misbehave = note
        hub.cdn, hub.served = cdn, served
        yield hub
