"""The reader of ONNX models. What describes them, and the library onnx, load with the first one.

Every reader is asked whether it knows a file, so a checkpoint of another format must not pay for
this one.
"""

from __future__ import annotations

from pathlib import Path

from accweight_adapters.onnx.wire import looks_like_model
from accweight_adapters.untrusted import ClaimError
from accweight_core.schema import Description


class OnnxReader:
    """Reads ONNX models, weights inline or external."""

    name = "onnx"
    suffixes = (".onnx",)

    def recognises(self, path: Path) -> bool:
        """Tell whether a file begins like an ONNX model, however it is called."""
        try:
            with path.open("rb", buffering=0) as file:
                return looks_like_model(file)
        except (OSError, ClaimError):
            return False

    def describe(self, path: Path) -> Description:
        """Describe a model: its parameters by layer, in network order.

        Raises:
            FormatError: If the model is damaged, contradicts itself, or points outside its folder.
        """
        from accweight_adapters.onnx.description import described

        return described(path)
