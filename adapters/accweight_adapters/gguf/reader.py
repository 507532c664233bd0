"""The reader of GGUF files; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class GgufReader:
    """Describes GGUF files by their headers."""

    name = "gguf"
    suffixes: tuple[str, ...] = (".gguf",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` begins as GGUF."""
        from accweight_adapters.gguf.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the tensors in `path`, and in the parts that follow it, in network order.

        Raises:
            FormatError: If a header is damaged or lies, or a part is missing or of another save.
        """
        from accweight_adapters.gguf.description import described

        return described(path)
