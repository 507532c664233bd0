"""Names of the files that mark a folder as an Orbax checkpoint."""

from __future__ import annotations

from typing import Final

CHECKPOINT_MARK: Final = "_CHECKPOINT_METADATA"
TREE_MARK: Final = "_METADATA"
MANIFEST: Final = "manifest.ocdbt"
MARKS: Final = (CHECKPOINT_MARK, TREE_MARK, MANIFEST)
