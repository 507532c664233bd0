"""The reader of Flax files; what describes them loads with the first one."""

from __future__ import annotations

from pathlib import Path

from accweight_core.schema import Description


class MsgpackReader:
    """Describes msgpack files of Flax without decoding the arrays in them."""

    name = "flax"
    suffixes: tuple[str, ...] = (".msgpack", "")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` begins as a mapping in which an array of Flax comes soon."""
        from accweight_adapters.jax.msgpack_description import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe the weights in `path`, in network order as far as the file keeps one.

        Raises:
            FormatError: If the file is damaged, cut short, or lies about its arrays.
        """
        from accweight_adapters.jax.msgpack_description import described

        return described(path)
