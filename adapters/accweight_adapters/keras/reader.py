"""The reader of Keras files; its parser is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accweight_core.schema import Description, StoredTensor


class KerasReader:
    """Describes Keras 2 and 3 checkpoints."""

    name = "keras"
    suffixes: tuple[str, ...] = (".keras", ".h5", ".hdf5", ".weights.json")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is HDF5, a Keras archive, or an index of Keras shards."""
        from accweight_adapters.keras.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`, in network order if the file keeps it.

        Raises:
            FormatError: If the file is damaged, inconsistent, or not a Keras file.
        """
        from accweight_adapters.keras.description import described

        return described(path)

    def hinted(self, tensors: Sequence[StoredTensor]) -> tuple[StoredTensor, ...]:
        """Return the variables of a model in memory with what their names mean in Keras."""
        from accweight_adapters.keras_hints import with_hints_of_paths

        return with_hints_of_paths(tensors)
