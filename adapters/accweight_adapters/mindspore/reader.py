"""The reader of MindSpore checkpoints; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class MindSporeReader:
    """Describes what MindSpore's `save_checkpoint` writes."""

    name = "mindspore"
    suffixes: tuple[str, ...] = (".ckpt",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a message whose first entry is a named tensor."""
        from accweight_adapters.mindspore.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the parameters in `path`, in the order in which they were saved.

        Raises:
            FormatError: If the file is damaged or inconsistent.
        """
        from accweight_adapters.mindspore.description import described

        return described(path)
