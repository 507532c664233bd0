"""Tell which names are those of repositories with revisions, and open the repository of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accweight_core.remote.git.places import git_place
from accweight_core.remote.hub.repository import hub_place
from accweight_core.remote.revision import Place
from accweight_core.remote.transport import Transport
from accweight_core.remote.urls import Url, is_on_hub


def place_of(name: str, options: Mapping[str, Any]) -> Place:
    """Return what the name of a source in a repository stands for; see `is_revised`.

    Args:
        name: The source, as people write it or as analyses store it.
        options: Options for the client of the hub.

    Raises:
        SourceError: If there is no such repository.
        MissingLibraryError: If a library is not installed.
    """
    return hub_place(name, options) if is_on_hub(name) else git_place(name)


def transport_at(url: Url, options: Mapping[str, Any]) -> Transport:
    """Return what reads the files of a URL that says its commit."""
    place = place_of(str(url), options)
    revision = place.revision or place.repository.default
    return place.repository.transport_at(place.repository.commit_of(revision))
