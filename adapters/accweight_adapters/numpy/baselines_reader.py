"""The reader of Stable-Baselines zips; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class OlderBaselinesReader:
    """Describes files of Stable-Baselines 2, the TensorFlow predecessor of Stable-Baselines3."""

    name = "sb2"
    suffixes: tuple[str, ...] = (".zip",)

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a zip with parameters and their list."""
        from accweight_adapters.numpy.baselines_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the parameters of the model.

        Raises:
            FormatError: If the zip or the archive inside is damaged.
        """
        from accweight_adapters.numpy.baselines_description import described

        return described(path)
