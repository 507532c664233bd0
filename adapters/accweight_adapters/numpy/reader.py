"""The reader of NumPy files; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class NumpyReader:
    """Describes `.npz` and `.npy` files without evaluating or unpickling anything in them."""

    name = "numpy"
    suffixes: tuple[str, ...] = (".npz", ".npy")
    pieces: tuple[str, ...] = (".npy",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a NumPy array, or an archive or folder of some."""
        from accweight_adapters.numpy.description import recognised
        from accweight_adapters.numpy.folder import recognised_folder

        return recognised(path) or recognised_folder(path)

    def describe(self, path: Path) -> Description:
        """Describe the arrays in `path`, in the order in which they were saved.

        Raises:
            FormatError: If the file is damaged or inconsistent, or has objects instead of numbers.
        """
        if path.is_dir():
            from accweight_adapters.numpy.folder import described_folder

            return described_folder(path)
        from accweight_adapters.numpy.description import described

        return described(path)
