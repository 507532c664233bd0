"""The reader of MATLAB files; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class MatlabReader:
    """Describes `.mat` files of MATLAB 5 and later."""

    name = "matlab"
    suffixes: tuple[str, ...] = (".mat",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` has the header of a MAT-file of version 5 to 7.3."""
        from accweight_adapters.matlab.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the arrays in `path`, also those in structures and cells.

        Raises:
            FormatError: If the file is damaged or inconsistent.
        """
        from accweight_adapters.matlab.description import described

        return described(path)
