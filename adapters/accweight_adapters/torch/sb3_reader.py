"""The reader of Stable-Baselines3 zips; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class StableBaselinesReader:
    """Describes what `BaseAlgorithm.save` of Stable-Baselines3 wrote."""

    name = "sb3"
    suffixes: tuple[str, ...] = (".zip",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a zip that holds a policy, or begins as one that is cut short."""
        from accweight_adapters.torch.sb3_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights of the policy.

        Raises:
            FormatError: If the zip or the policy in it is damaged, or grows beyond reason.
        """
        from accweight_adapters.torch.sb3_description import described

        return described(path)
