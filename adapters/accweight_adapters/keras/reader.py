"""The reader of Keras files; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class KerasReader:
    """Describes checkpoints of Keras 2 and 3."""

    name = "keras"
    suffixes: tuple[str, ...] = (".keras", ".h5", ".hdf5", ".weights.json")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is HDF5, an archive of Keras, or an index of its shards."""
        from accweight_adapters.keras.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`, in network order as far as the file keeps one.

        Raises:
            FormatError: If the file is damaged, lies about itself, or is not a file of Keras.
        """
        from accweight_adapters.keras.description import described

        return described(path)
