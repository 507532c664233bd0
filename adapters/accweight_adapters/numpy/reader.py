"""The reader of NumPy files; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class NumpyReader:
    """Describes `.npz` and `.npy` files without evaluating or unpickling anything in them."""

    name = "numpy"
    suffixes: tuple[str, ...] = (".npz", ".npy")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is an array of NumPy, or a zip of some."""
        from accweight_adapters.numpy.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the arrays in `path`; in the order in which they were saved.

        Raises:
            FormatError: If the file is damaged or lies, or holds objects instead of numbers.
        """
        from accweight_adapters.numpy.description import described

        return described(path)
