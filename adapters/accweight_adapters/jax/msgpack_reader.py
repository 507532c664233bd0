"""The reader of Flax files; its parser is imported on first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from accweight_core.errors import SourceError
from accweight_core.readers import Keys
from accweight_core.schema import Description, StoredTensor


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

    def names_in(self, shapes: Mapping[Keys, tuple[int, ...]]) -> dict[str, Keys]:
        """Return the keys of the weights in a tree in memory, by the names they have in files.

        Raises:
            SourceError: If the tree has no weights.
        """
        from accweight_adapters.jax.tree import choose
        from accweight_adapters.untrusted import ClaimError

        try:
            model = choose({keys: bool(shape) for keys, shape in shapes.items()}).model
        except ClaimError as error:
            raise SourceError(f"the mapping of weights {error}") from None
        return {chosen.name: chosen.keys for chosen in model}

    def hinted(self, tensors: Sequence[StoredTensor]) -> tuple[StoredTensor, ...]:
        """Return weights in memory with what their names mean in Flax."""
        from accweight_adapters.jax.hints import with_flax_hints

        return with_flax_hints(tensors)
