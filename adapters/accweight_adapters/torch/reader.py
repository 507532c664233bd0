"""The reader of PyTorch checkpoints; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class TorchReader:
    """Describes checkpoints of torch.save without running or loading anything in them."""

    name = "torch"
    suffixes: tuple[str, ...] = (".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".json")

    def recognises(self, path: Path) -> bool:
        """Tell whether torch.save or torch.jit.save wrote `path`; the latter is refused later.

        An index of files of torch.save is recognised too.
        """
        from accweight_adapters.torch.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`.

        Raises:
            FormatError: If the file is damaged, or needs more than plain weights need; the
                message then says how to convert it.
        """
        from accweight_adapters.torch.description import described

        return described(path)
