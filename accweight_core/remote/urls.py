"""Parse URLs, hide their secrets, and append names to them.

`str` of a URL is used in errors, analyses and extents. It never includes a password or the query
of an HTTP URL, which may have signatures and tokens; both are kept separately and are used for
requests alone. So a URL with a new signature still names the same file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from accweight_core.errors import SourceError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # one letter is a drive of Windows
_CHAINED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)::")
LOCAL = ("file", "local")
WEB = ("http", "https")
GIT = "git"
"""Scheme of local git repositories: ``git:///folder/repository@COMMIT/file``."""

HUB = "hf"
"""Scheme of the Hugging Face hub: ``hf://organisation/model@COMMIT/file``."""

NAMED_BY_USER_PART = (HUB, "github", "gist")
"""Schemes in which the text before an @ is part of the name, not a credential."""

_SAFE = "!$&'()*+,;=:@~-._"
_ELSEWHERE = re.compile(r"[/\\\0]|::|://|^\.{0,2}$")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")


def is_url(name: object) -> bool:
    """Tell whether a name is a URL: `s3://bucket/run`, `zip::memory://a.zip`."""
    text = str(name)
    return "://" in text and bool(_SCHEME.match(text) or _CHAINED.match(text))


def is_revised(name: object) -> bool:
    """Tell whether a name is that of a repository with revisions: on the hub, or ``git:FOLDER``."""
    text = str(name)
    return text.startswith(f"{GIT}:") or is_on_hub(text)


def is_on_hub(text: str) -> bool:
    """Tell whether a URL is that of a repository on the hub; buckets there have no revisions."""
    return text.startswith(f"{HUB}://") and not text.startswith(f"{HUB}://buckets/")


def is_plain_name(name: str) -> bool:
    """Tell whether a name in a listing is that of an entry of the folder itself."""
    return _ELSEWHERE.search(name) is None and name.isprintable()


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL of a file or folder.

    Attributes:
        wrappers: Prefix of chained file systems, such as ``simplecache::``.
        scheme: Scheme of the file system, lower case.
        host: Host and port for HTTP, else empty.
        segments: Names from the root on; escaped as in the URL for HTTP.
        archive: Chained URL after the name, such as ``::https://host/a.zip``, without secrets.
        user_part: ``user:password@``, never shown.
        query: ``?X-Amz-Signature=...``, never shown.
        secret_archive: `archive` with its secrets.
    """

    wrappers: str
    scheme: str
    host: str
    segments: tuple[str, ...]
    archive: str = ""
    user_part: str = field(default="", compare=False, repr=False)
    query: str = field(default="", compare=False, repr=False)
    secret_archive: str = field(default="", compare=False, repr=False)

    @classmethod
    def parsed(cls, text: str) -> Url:
        """Parse a URL.

        Raises:
            SourceError: If it is not a URL, or an HTTP URL without a host.
        """
        wrappers, rest = "", text
        while (chained := _CHAINED.match(rest)) and not _SCHEME.match(rest):
            wrappers, rest = wrappers + chained[0], rest[chained.end() :]
        found = _SCHEME.match(rest)
        if not found:
            raise SourceError(f"{without_secrets(text)}: not a URL")
        rest, behind, archive = rest.partition("::")
        scheme, place = found[1].lower(), rest[found.end() :]
        user_part, place = _user_part(scheme, place)
        host = query = ""
        if scheme in WEB:
            place, _, _ = place.partition("#")
            place, mark, query = place.partition("?")
            host, _, place = place.partition("/")
            query = mark + quote(query, safe="%/?:@!$&'()*+,;=~-._[]")
            if not host:
                raise SourceError(f"{scheme}://: names no host")
            place = quote(place, safe="%/" + _SAFE)
        return cls(
            wrappers,
            scheme,
            host.lower(),
            tuple(name for name in place.split("/") if name not in ("", ".")),
            behind + (without_secrets(archive) if behind else ""),
            user_part,
            query,
            behind + archive,
        )

    def __str__(self) -> str:
        """Return the URL without secrets."""
        return self._joined("") + self.archive

    @property
    def full(self) -> str:
        """The URL with its secrets, for requests only."""
        return self._joined(self.user_part) + self.query + self.secret_archive

    @property
    def full_folder(self) -> str:
        """The URL with its secrets and a slash at the end of its path, as HTTP names a folder."""
        return self._joined(self.user_part).rstrip("/") + "/" + self.query + self.secret_archive

    def _joined(self, user_part: str) -> str:
        host = self.host + "/" if self.host or self.scheme == GIT else ""
        return f"{self.wrappers}{self.scheme}://{user_part}{host}{'/'.join(self.segments)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The segments, unescaped."""
        return tuple(map(unquote, self.segments)) if self.host else self.segments

    @property
    def is_web(self) -> bool:
        """Whether it is a plain HTTP URL, without archive or cache."""
        return bool(self.host) and not self.wrappers and not self.archive

    def parent(self) -> Url:
        """Return the folder that contains it; the parent of the root is the root."""
        return replace(self, segments=self.segments[:-1])

    def child(self, names: str) -> Url:
        """Return the URL of a relative path below this one; the path may come from a file.

        Raises:
            ValueError: If the path leads outside, or could be read as another URL.
        """
        parts = [name for name in names.split("/") if name not in ("", ".")]
        if names.startswith("/") or ".." in parts or "::" in names or "://" in names:
            raise ValueError(f"{names[:80]!r} leads out of {self}")
        if "\\" in names or "\0" in names:
            raise ValueError(f"{names[:80]!r} is not the name of a file at {self}")
        own = [quote(name, safe=_SAFE) for name in parts] if self.host else parts
        return replace(self, segments=(*self.segments, *own))


def _user_part(scheme: str, place: str) -> tuple[str, str]:
    """Split off ``user:password@``; outside HTTP, a user without password is not a secret."""
    authority, slash, rest = place.partition("/")
    user, at, host = authority.rpartition("@")
    if not at or scheme in NAMED_BY_USER_PART or (scheme not in WEB and ":" not in user):
        return "", place
    return user + at, host + slash + rest


def without_secrets(text: str) -> str:
    """Return a text with passwords and queries removed from all URLs."""
    return _IN_TEXT.sub(lambda found: _cleaned(found[0]), text)


def _cleaned(url: str) -> str:
    """Return one URL without secrets, otherwise unchanged."""
    scheme, _, place = url.partition("://")
    _, place = _user_part(scheme.lower(), place)
    if scheme.lower() in WEB:
        place = re.split(r"[?#]", place, maxsplit=1)[0]
    head, behind, archive = place.partition("::")
    return f"{scheme}://{head}{behind}{_cleaned(archive) if '://' in archive else archive}"
