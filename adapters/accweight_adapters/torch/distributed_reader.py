"""The reader of torch.distributed checkpoints; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class DistributedReader:
    """Describes torch.distributed.checkpoint checkpoints, given their metadata or folder."""

    name = "torch_distributed"
    suffixes: tuple[str, ...] = (".metadata",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` starts like such metadata, or is a folder with one."""
        from accweight_adapters.torch.distributed_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights of the checkpoint.

        Raises:
            FormatError: If the metadata is damaged, unsafe or inconsistent, or a file is missing.
        """
        from accweight_adapters.torch.distributed_description import described

        return described(path)
