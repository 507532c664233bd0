"""The reader of Darknet weights; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class DarknetReader:
    """Describes Darknet's `.weights` by the `.cfg` beside them, which has the shapes."""

    name = "darknet"
    suffixes: tuple[str, ...] = (
        ".weights",
        ".backup",
    )

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` has the header of Darknet and plausible floats after it."""
        from accweight_adapters.darknet.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`, in network order.

        Raises:
            FormatError: If the file is damaged or inconsistent.
        """
        from accweight_adapters.darknet.description import described

        return described(path)
