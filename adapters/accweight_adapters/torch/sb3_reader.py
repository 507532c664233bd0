"""The reader of Stable-Baselines3 zips; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class StableBaselinesReader:
    """Describes files written by Stable-Baselines3's `BaseAlgorithm.save`."""

    name = "sb3"
    suffixes: tuple[str, ...] = (".zip",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a zip with a policy, or the start of a truncated one."""
        from accweight_adapters.torch.sb3_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights of the policy.

        Raises:
            FormatError: If the zip or the policy is damaged, or its compression ratio is too high.
        """
        from accweight_adapters.torch.sb3_description import described

        return described(path)
