"""The reader of ONNX Runtime checkpoints; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class OrtReader:
    """Describes what `CheckpointState.save_checkpoint` of onnxruntime-training wrote."""

    name = "ort"
    suffixes: tuple[str, ...] = (".ckpt", "")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` begins as such a checkpoint, whatever it is called."""
        from accweight_adapters.ort.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the parameters, trained and frozen.

        Raises:
            FormatError: If the file is damaged, or holds no values.
        """
        from accweight_adapters.ort.description import described

        return described(path)
