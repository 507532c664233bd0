"""The reader of TensorFlow checkpoints; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class TensorFlowReader:
    """Describes TensorFlow 1 and 2 checkpoints by their index."""

    name = "tensorflow"
    suffixes: tuple[str, ...] = (".index",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a table of keys, or a damaged one with its shards next to it."""
        from accweight_adapters.tensorflow.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the variables of the model, in network order if the file keeps it.

        Raises:
            FormatError: If the index is damaged, or a shard is missing or too short.
        """
        from accweight_adapters.tensorflow.description import described

        return described(path)
