"""The reader of Caffe models; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class CaffeReader:
    """Describes `.caffemodel` files: the blobs of every layer."""

    name = "caffe"
    suffixes: tuple[str, ...] = (".caffemodel",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a message with layers that have a name and a type."""
        from accweight_adapters.caffe.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the blobs in `path`, in network order.

        Raises:
            FormatError: If the file is damaged or inconsistent.
        """
        from accweight_adapters.caffe.description import described

        return described(path)
