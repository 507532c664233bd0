"""The reader of Orbax checkpoints; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_adapters.jax.marks import MARKS
from accweight_core.schema import Description


class OrbaxReader:
    """Describes Orbax checkpoints, given one of the files that mark them, or their folder."""

    name = "orbax"
    suffixes: tuple[str, ...] = ()
    marks: tuple[str, ...] = MARKS

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is one of the files that mark a checkpoint, or a folder with one."""
        from accweight_adapters.jax.orbax_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights of the checkpoint, in network order as far as names reveal it.

        Raises:
            FormatError: If something in it is damaged, inconsistent or missing.
        """
        from accweight_adapters.jax.orbax_description import described

        return described(path)
