"""URLs: which text is one, what of it may be shown, and how a name is put behind it.

What a URL shows (`str`) is what errors, analyses and extents hold. It never holds a password,
nor the query of an HTTP address, which is where signatures and tokens are; both stay aside and
are used for requests alone. So a URL that is signed anew names the same file as before.
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
NAMED_BY_USER_PART = ("hf", "github", "gist")
"""Schemes in which what comes before an @ is not a credential but says what is meant."""

_SAFE = "!$&'()*+,;=:@~-._"
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")


def is_url(name: object) -> bool:
    """Tell whether a name is a URL and no path: `s3://bucket/run`, `zip::memory://a.zip`."""
    text = str(name)
    return "://" in text and bool(_SCHEME.match(text) or _CHAINED.match(text))


@dataclass(frozen=True, slots=True)
class Url:
    """A file or folder elsewhere.

    Attributes:
        wrappers: What stands before it, such as ``simplecache::``.
        scheme: Of the file system, lower case.
        host: For the web, the host and its port.
        segments: The names from the root on; for the web as they stand in the URL, escaped.
        archive: What stands behind it, such as ``::https://host/a.zip``, without secrets.
        user_part: ``user:password@``, never shown.
        query: ``?X-Amz-Signature=...``, never shown.
        secret_archive: `archive` as it was given.
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
        """Return the parts of a URL.

        Raises:
            SourceError: If it names no host where it has to.
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
        """Return it without secrets."""
        return self._joined("") + self.archive

    @property
    def full(self) -> str:
        """The URL with its secrets, for requests alone."""
        return self._joined(self.user_part) + self.query + self.secret_archive

    @property
    def full_folder(self) -> str:
        """The same, as the web writes a folder."""
        return self._joined(self.user_part).rstrip("/") + "/" + self.query + self.secret_archive

    def _joined(self, user_part: str) -> str:
        host = self.host + "/" if self.host else ""
        return f"{self.wrappers}{self.scheme}://{user_part}{host}{'/'.join(self.segments)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The segments as names."""
        return tuple(map(unquote, self.segments)) if self.host else self.segments

    @property
    def is_web(self) -> bool:
        """Whether it is a plain address of the web, inside no archive or cache."""
        return bool(self.host) and not self.wrappers and not self.archive

    def parent(self) -> Url:
        """Return the folder it lies in; the root's is the root."""
        return replace(self, segments=self.segments[:-1])

    def child(self, names: str) -> Url:
        """Return what lies below under a relative path, which may come from a file.

        Raises:
            ValueError: If the path leads elsewhere, or could be read as another URL.
        """
        parts = [name for name in names.split("/") if name not in ("", ".")]
        if names.startswith("/") or ".." in parts or "::" in names or "://" in names:
            raise ValueError(f"{names[:80]!r} leads out of {self}")
        if "\\" in names or "\0" in names:
            raise ValueError(f"{names[:80]!r} is not the name of a file at {self}")
        own = [quote(name, safe=_SAFE) for name in parts] if self.host else parts
        return replace(self, segments=(*self.segments, *own))


def _user_part(scheme: str, place: str) -> tuple[str, str]:
    """Split ``user:password@`` off; a user alone is shown where it is not a token."""
    authority, slash, rest = place.partition("/")
    user, at, host = authority.rpartition("@")
    if not at or scheme in NAMED_BY_USER_PART or (scheme not in WEB and ":" not in user):
        return "", place
    return user + at, host + slash + rest


def without_secrets(text: str) -> str:
    """Return a text in which every URL has lost its password and its query."""
    return _IN_TEXT.sub(lambda found: _cleaned(found[0]), text)


def _cleaned(url: str) -> str:
    """Return one URL as it may be shown, its ending as it was typed."""
    scheme, _, place = url.partition("://")
    _, place = _user_part(scheme.lower(), place)
    if scheme.lower() in WEB:
        place = re.split(r"[?#]", place, maxsplit=1)[0]
    head, behind, archive = place.partition("::")
    return f"{scheme}://{head}{behind}{_cleaned(archive) if '://' in archive else archive}"
