"""The reader of MXNet's lists of arrays; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class MxnetReader:
    """Describes what MXNet's `nd.save` and `save_parameters` write."""

    name = "mxnet"
    suffixes: tuple[str, ...] = (".params",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` starts as a list of arrays."""
        from accweight_adapters.mxnet.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the arrays in `path`, in the order in which they were saved.

        Raises:
            FormatError: If the file is damaged or inconsistent.
        """
        from accweight_adapters.mxnet.description import described

        return described(path)
