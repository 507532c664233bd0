"""The reader of Flax files; its parser is imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class MsgpackReader:
    """Describes msgpack files of Flax without decoding the arrays in them."""

    name = "flax"
    suffixes: tuple[str, ...] = (".msgpack", "")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` starts with a mapping that soon contains a Flax array."""
        from accweight_adapters.jax.msgpack_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`, in network order if the file keeps it.

        Raises:
            FormatError: If the file is damaged, truncated, or inconsistent.
        """
        from accweight_adapters.jax.msgpack_description import described

        return described(path)
