"""The reader of GGUF files; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class GgufReader:
    """Describes GGUF files by their headers."""

    name = "gguf"
    suffixes: tuple[str, ...] = (".gguf",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` starts with the GGUF magic number."""
        from accweight_adapters.gguf.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the tensors in `path` and in its further parts, in network order.

        Raises:
            FormatError: If a header is damaged, or a part is missing or of another model.
        """
        from accweight_adapters.gguf.description import described

        return described(path)
