"""The reader of torch.distributed checkpoints; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class DistributedReader:
    """Describes checkpoints of torch.distributed.checkpoint, by their metadata or their folder."""

    name = "torch_distributed"
    suffixes: tuple[str, ...] = (".metadata",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` begins as such metadata, or is a folder that holds some."""
        from accweight_adapters.torch.distributed_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights of the checkpoint.

        Raises:
            FormatError: If the metadata is damaged, unsafe or lies, or a file is missing.
        """
        from accweight_adapters.torch.distributed_description import described

        return described(path)
