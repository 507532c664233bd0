"""The reader of plain pickles; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class PickleReader:
    """Describes pickles of tensors and arrays, without running or building anything in them."""

    name = "pickle"
    suffixes: tuple[str, ...] = (
        *(".pkl", ".pickle", ".p", ".pdparams", ".joblib", ".pkl.gz", ".dill", ".cloudpickle", ""),
    )

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is a pickle that holds weights, or was cut short behind some.

        Pickles hold anything, so this reads the whole pickle, except for long strings of bytes,
        and gives up on one with millions of parts.
        """
        from accweight_adapters.pickled.recognition import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`.

        Raises:
            FormatError: If the file is damaged, holds no weights, or names what only an attack
                does.
        """
        from accweight_adapters.pickled.description import described

        return described(path)
