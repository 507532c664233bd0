"""Choose the transport for a URL.

HTTP requests are made directly, through the session that fsspec configures, because the answers
must be checked: whether a server sent the requested range, and of the same version of the file.
Repositories with revisions have transports of their own; all other URLs go through the file
systems of fsspec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accweight_core.errors import MissingLibraryError, SourceError
from accweight_core.remote.repositories import transport_at
from accweight_core.remote.settings import settings
from accweight_core.remote.stores import Store, within
from accweight_core.remote.transport import Transport
from accweight_core.remote.urls import Url, is_revised, without_secrets
from accweight_core.remote.web import Web

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EXTRA = "remote"

PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "adl": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "oci": "ocifs",
    "webdav": "webdav4",
}
"""Packages that fsspec needs for a scheme, by their names for pip."""


def transport_for(url: Url, options: Mapping[str, Any]) -> Transport:
    """Return the transport for a URL.

    Raises:
        MissingLibraryError: If a library is not installed.
        SourceError: If fsspec does not know the scheme, or refuses the URL or the options.
    """
    if is_revised(url):
        return transport_at(url, options)
    file_system, _ = opened(url, options)
    if url.is_web:
        return Web(file_system)
    return Store(file_system, url)


def opened(url: Url, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path of the URL in it."""
    purpose = f"reading {url.scheme}:// URLs"
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingLibraryError("fsspec", EXTRA, purpose) from None
    try:
        if url.is_web:
            file_system, path = url_to_fs(url.full, **options)
        else:  # may open an archive, with other time-outs or none
            longest_s = 4 * settings().timeout_s
            file_system, path = within(longest_s, lambda: url_to_fs(url.full, **options))
    except ImportError as error:
        package = PACKAGES.get(url.scheme)
        if package == "aiohttp":
            raise MissingLibraryError(package, EXTRA, purpose) from None
        if package:
            raise MissingLibraryError(package, "", purpose) from None
        raise SourceError(f"{url}: {_line(error)}") from None
    except TimeoutError:
        problem = f"fsspec has not opened this URL in {longest_s:g} s; is its server there?"
        raise SourceError(f"{url}: {problem}") from None
    except Exception as error:  # file systems raise errors of many types
        raise SourceError(f"{url}: fsspec cannot open this URL ({_line(error)})") from None
    return file_system, str(path)


def _line(error: BaseException) -> str:
    return without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__
