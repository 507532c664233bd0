"""The reader of ONNX Runtime checkpoints; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class OrtReader:
    """Describes files written by onnxruntime-training's `CheckpointState.save_checkpoint`."""

    name = "ort"
    suffixes: tuple[str, ...] = (".ckpt", "")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` starts like such a checkpoint, whatever its name."""
        from accweight_adapters.ort.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the parameters, trained and frozen.

        Raises:
            FormatError: If the file is damaged, or has no values.
        """
        from accweight_adapters.ort.description import described

        return described(path)
