"""Write the metadata of Zarr groups."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accweight_core.store.documents import METADATA
from accweight_core.store.files import Write, write_whole


def create_group(path: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Write the metadata of a Zarr group, replacing existing metadata."""
    path.mkdir(parents=True, exist_ok=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}
    write_whole(path / METADATA, encoded(document))


def create_plain_group(path: Path, write: Write) -> None:
    """Write the metadata of a Zarr group without attributes."""
    os.makedirs(path, exist_ok=True)
    write(path / METADATA, _PLAIN_GROUP)


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return metadata as JSON."""
    return json.dumps(document).encode()  # indentation would take ten times as long


_PLAIN_GROUP = encoded({"zarr_format": 3, "node_type": "group", "attributes": {}})
