"""What the gallery leaves on disk: networks with their checkpoints and analyses, and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accweight_adapters.demo.gallery.networks.training import (
    ANALYSIS,
    CHECKPOINTS,
    SAMPLES,
    Array,
    Network,
)
from accweight_core.analysis.analysis import Analysis, open_analysis
from accweight_core.analysis.probe_results import ProbeResult

Question = tuple[str, str, str]
"""Names of a network and of its samples, and a probe with its options."""


@dataclass
class Made:
    """Networks that are trained and probed.

    Attributes:
        home: Folder that has a folder per network.
        planted: What was planted in each network.
        results: What probes have found.
    """

    home: Path
    planted: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    results: dict[Question, ProbeResult] = field(default_factory=dict)

    def folder(self, network: Network) -> Path:
        """Return the folder of a network."""
        return self.home / network.name

    def analysis(self, network: Network) -> Analysis:
        """Return the analysis of a network."""
        return open_analysis(self.folder(network) / ANALYSIS)

    def of(self, network: Network) -> Mapping[str, Any]:
        """Return what was planted in a network."""
        return self.planted[network.name]

    def result(self, network: Network, probe: str, data: str = SAMPLES) -> ProbeResult:
        """Return what a probe has found in a network."""
        return self.results[network.name, data, probe]

    def weights(self, network: Network, name: str, step: int) -> Array:
        """Return a tensor of a checkpoint, as it is in the file."""
        path = self.folder(network) / CHECKPOINTS / f"epoch_{step}.pt"
        state = torch.load(path, weights_only=True)["model_state_dict"]
        found: Array = np.asarray(state[name].numpy())
        return found
