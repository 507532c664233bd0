"""One repository on the hub as its client, huggingface_hub, reads it.

The client knows the endpoint (``HF_ENDPOINT``) and the token (``HF_TOKEN``, ``hf auth login``). It
lists branches, tags and files; their bytes are requested by ranges, which the client itself cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from accweight_core.errors import MissingLibraryError, SourceError
from accweight_core.remote.block_cache import side_by_side
from accweight_core.remote.errors import AbsentError, PassingError, RemoteError, attempted
from accweight_core.remote.hub.transport import Entry, HubTree
from accweight_core.remote.revision import COMMIT, Place
from accweight_core.remote.settings import settings
from accweight_core.remote.stores import within
from accweight_core.remote.transport import Transport
from accweight_core.remote.urls import HUB, Url, is_plain_name
from accweight_core.remote.web import PASSING, Web

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Answer = TypeVar("Answer")

EXTRA = "hub"

MOST_LISTED = 50_000
"""Files listed at once with those in all folders below; more are listed folder by folder."""

_NAMED = re.compile(
    r"hf://(?:(?P<kind>models|datasets|spaces)/)?"
    r"(?P<id>[^/@]+/[^/@]+|[^/@]+(?=@|/?$))"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/:]+|[^/]+))?(?:/(?P<file>.*))?",
    re.IGNORECASE,
)
_LOG_IN = "if it is private or gated, log in with: hf auth login (or set HF_TOKEN)"


def hub_place(text: str, options: Mapping[str, Any]) -> Place:
    """Return what ``hf://ORGANISATION/MODEL@REVISION/FILE`` names.

    Args:
        text: The URL.
        options: ``endpoint`` and ``token`` for the client; others are ignored.

    Raises:
        SourceError: If it names no repository, or a file elsewhere.
        MissingLibraryError: If a library is not installed.
    """
    found = _NAMED.fullmatch(text)
    if found is None:
        raise SourceError(f"{text}: expected hf://ORGANISATION/MODEL, with @REVISION or without")
    names = [name for name in (found["file"] or "").split("/") if name not in ("", ".")]
    if ".." in names:
        raise SourceError(f"{text}: the name of the file leads out of the repository")
    kind = (found["kind"] or "models").lower().removesuffix("s")
    repository = _opened(kind, found["id"], options)
    revision = unquote(found["revision"]) if found["revision"] else None
    return Place(repository, revision, "/".join(names))


def _opened(kind: str, id: str, options: Mapping[str, Any]) -> HubRepository:
    try:
        import fsspec.implementations.http  # noqa: F401
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    except ImportError as error:
        library = (error.name or "huggingface_hub").partition(".")[0]
        raise MissingLibraryError(library, EXTRA, "reading hf:// URLs") from None
    headers = build_hf_headers(token=options.get("token"), library_name="accweight")
    endpoint = options.get("endpoint") or constants.ENDPOINT
    return _repository(kind, id, endpoint, tuple(sorted(headers.items())))


@lru_cache(maxsize=64)
def _repository(
    kind: str, id: str, endpoint: str, headers: tuple[tuple[str, str], ...]
) -> HubRepository:
    """Return a repository; the same one for all that asks for it with the same credentials."""
    from fsspec.implementations.http import HTTPFileSystem
    from huggingface_hub import HfApi

    token = dict(headers).get("authorization", "").removeprefix("Bearer ")
    web, elsewhere = (
        Web(HTTPFileSystem(headers=sent, skip_instance_cache=True)) for sent in (dict(headers), {})
    )
    return HubRepository(HfApi(endpoint, token=token or False), web, elsewhere, kind, id)


class HubRepository:
    """A repository on the hub; threads may share it.

    Attributes:
        default: The revision that is read if none is named.
        web: What reads byte ranges, with the headers of the client.
        elsewhere: What reads byte ranges at other servers, without these.
    """

    default = "main"

    def __init__(self, api: HfApi, web: Web, elsewhere: Web, kind: str, id: str) -> None:
        """Create the repository.

        Args:
            api: The client.
            web: What reads byte ranges, with the headers of the client.
            elsewhere: What reads byte ranges at other servers, without these.
            kind: ``model``, ``dataset`` or ``space``.
            id: Organisation and name.
        """
        self._api = api
        self._kind = kind
        self._id = id
        self.web = web
        self.elsewhere = elsewhere

    def __str__(self) -> str:
        """Return the URL of the repository."""
        return str(Url("", HUB, "", self._names))

    @property
    def _names(self) -> tuple[str, ...]:
        return (*([] if self._kind == "model" else [f"{self._kind}s"]), *self._id.split("/"))

    # --- branches, tags and commits

    def refs(self) -> Mapping[str, str]:
        """Return the commits of all branches and tags, by name.

        Raises:
            SourceError: If there is no such repository, or the hub does not answer.
        """
        found = self._told(lambda: self._api.list_repo_refs(self._id, repo_type=self._kind))
        named: dict[str, str] = {}
        for ref in (*found.tags, *found.branches):
            if COMMIT.fullmatch(str(ref.target_commit)):
                named.setdefault(str(ref.name), ref.target_commit)
        return named

    def commit_of(self, name: str) -> str:
        """Return the commit of a branch, a tag, another reference or a commit's id.

        Raises:
            SourceError: If there is none, or the hub does not answer.
        """
        commit = name if COMMIT.fullmatch(name) else self.refs().get(name)
        if commit is None:
            told = self._told(
                lambda: self._api.repo_info(self._id, revision=name, repo_type=self._kind)
            )
            commit = str(told.sha)
        if not COMMIT.fullmatch(commit):
            raise SourceError(f"{self}: the hub says that {name!r} is no commit")
        return commit

    def ages(self, commits: Iterable[str]) -> Mapping[str, tuple[int, int]]:
        """Return sort keys of commits: time, and length of history."""

        def age(commit: str) -> tuple[str, tuple[int, int]]:
            line = self._told(
                lambda: self._api.list_repo_commits(self._id, revision=commit, repo_type=self._kind)
            )
            return commit, (int(line[0].created_at.timestamp()) if line else 0, len(line))

        return dict(side_by_side(age, commits))

    def history(self, file: str) -> list[str] | None:
        """Return None: the hub lists no history of a single file."""
        return None

    # --- files

    def url_at(self, commit: str) -> Url:
        """Return the URL of all files at a commit."""
        *folders, name = self._names
        return Url("", HUB, "", (*folders, f"{name}@{commit}"))

    def transport_at(self, commit: str) -> Transport:
        """Return what reads the files at a commit."""
        return HubTree(self, commit, len(self.url_at(commit).segments))

    def address(self, commit: str, file: str) -> Url:
        """Return the address of the bytes of a file at a commit."""
        from huggingface_hub import hf_hub_url

        endpoint = self._api.endpoint
        return Url.parsed(
            hf_hub_url(self._id, file, repo_type=self._kind, revision=commit, endpoint=endpoint)
        )

    def listed(self, commit: str, folder: str, url: Url) -> tuple[dict[str, Entry], bool]:
        """Return the files and folders in a folder by their paths in the repository.

        Returns:
            The entries, and whether those of all folders below are among them.

        Raises:
            RemoteError: If there is no such folder, or the hub does not answer.
        """
        found = self._tree(commit, folder, url, is_deep=True)
        if len(found) <= MOST_LISTED:
            return _by_path(found, folder), True
        return _by_path(self._tree(commit, folder, url, is_deep=False), folder), False

    def _tree(self, commit: str, folder: str, url: Url, *, is_deep: bool) -> list[Any]:
        def tree() -> list[Any]:
            found = self._api.list_repo_tree(
                self._id, folder or None, recursive=is_deep, revision=commit, repo_type=self._kind
            )
            return list(islice(found, MOST_LISTED + 1) if is_deep else found)

        return _asked(url, "listing it", tree)

    def entry(self, commit: str, file: str, url: Url) -> Entry | None:
        """Return the file or folder of a name at a commit; None if there is none."""
        found = _asked(
            url,
            "looking at it",
            lambda: self._api.get_paths_info(
                self._id, [file], revision=commit, repo_type=self._kind
            ),
        )
        return _by_path(found, file.rpartition("/")[0]).get(file)

    def _told(self, call: Callable[[], Answer]) -> Answer:
        url = Url("", HUB, "", self._names)
        try:
            return _asked(url, "asking the hub", call)
        except RemoteError as error:
            raise SourceError(f"{self}: {error.strerror}") from None


def _by_path(infos: Iterable[Any], folder: str) -> dict[str, Entry]:
    """Return what the client says about files and folders; names that lead elsewhere are left."""
    found: dict[str, Entry] = {}
    for info in infos:
        path = str(info.path)
        is_below = not folder or path.startswith(f"{folder}/")
        if is_below and all(map(is_plain_name, path.split("/"))):
            size = getattr(info, "size", None)
            tag = info.lfs.sha256 if getattr(info, "lfs", None) else getattr(info, "blob_id", "")
            found[path] = Entry(hasattr(info, "tree_id"), size, str(tag))
    return found


def _asked(url: Url, what: str, call: Callable[[], Answer]) -> Answer:
    """Return the answer of the client, with a time limit and retries of what may pass."""
    longest_s = 4 * settings().timeout_s
    return attempted(url, what, lambda: _translated(url, lambda: within(longest_s, call)))


def _translated(url: Url, call: Callable[[], Answer]) -> Answer:
    """Return the answer of a call; turn errors of the client into RemoteError or PassingError."""
    from huggingface_hub import errors

    try:
        return call()
    except errors.GatedRepoError:
        raise AbsentError(url, f"access has to be granted on its page first; {_LOG_IN}") from None
    except errors.RevisionNotFoundError:
        raise AbsentError(url, "there is no such branch, tag or commit") from None
    except errors.RepositoryNotFoundError:
        raise AbsentError(url, f"there is no such repository; {_LOG_IN}") from None
    except errors.EntryNotFoundError:
        raise AbsentError(url) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in PASSING:
            raise PassingError(f"the hub answers HTTP {status}") from None
        raise AbsentError(url, f"the hub answers HTTP {status}; {_LOG_IN}") from None
    except errors.HFValidationError:
        raise RemoteError(url, "no repository on the hub can be called so") from None
    except TimeoutError:
        raise PassingError("the hub does not answer in time") from None
    except Exception as error:  # the errors of its HTTP library, which has changed before
        raise PassingError(f"the hub cannot be asked ({type(error).__name__})") from None
