"""The reader of PyTorch checkpoints; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.schema import Description


class TorchReader:
    """Describes files of torch.save, torch.jit and torch.export without running anything."""

    name = "torch"
    suffixes: tuple[str, ...] = (
        ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".json", ".jit", ".pt2", ".ptl",
        *(".pkl", ".pickle", ".p", ".tar", ".torch", ".th", ".model", ".mdl", ".chkpt"),
        *(".t7", ".pyth", ".ts", ".torchscript", ".checkpoint"),
    )  # fmt: skip
    marks = ("layer_[0-9]*-model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt")
    """Names in folders that are one checkpoint: of DeepSpeed's pipelines, and of its ZeRO 3."""

    def recognises(self, path: Path) -> bool:
        """Tell whether torch.save or torch.jit.save wrote `path`.

        An index of torch.save shards is recognised too.
        """
        from accweight_adapters.torch.description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`.

        Raises:
            FormatError: If the file is damaged, or its pickle names what only an attack does.
        """
        from accweight_adapters.torch.description import described

        return described(path)

    def graph(self, path: Path) -> LayerGraph | None:
        """Return the graph of an archive of torch.export; other files have none.

        Raises:
            FormatError: If it is damaged.
        """
        from accweight_adapters.torch.exported_graph import layer_graph

        return layer_graph(path)
