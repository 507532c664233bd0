"""Describe Darknet weights: a header and the floats of all layers, without a name or a shape.

The shapes are in the network's `.cfg`, which Darknet's runs keep apart: it must lie beside the
weights, with the same name (`yolov3.cfg` for `yolov3_1000.weights`), or alone in their folder.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import IO, Final

import numpy as np

from accweight_adapters.darknet.network import (
    Array,
    Network,
    network_of,
    sections_in,
    size_bytes_of,
)
from accweight_adapters.untrusted import ClaimError, check_not_empty, claims_of, quoted
from accweight_core.schema import Description, Extent, Hints, StoredTensor

FORMAT: Final = "Darknet weights"
VERSION_BYTES: Final = 12
LOOKED_AT: Final = 64
"""Floats that `recognised` reads behind the header."""

LARGEST_FLOAT: Final = 1e8
MOST_CFG_BYTES: Final = 1 << 22
TRANSPOSING: Final = 1000
"""Versions beyond this one store matrices inputs first, in a header that old files have."""

NUMBERED = re.compile(r"[_.-](\d+|final|last|best)$")
"""Endings that Darknet adds to the name of the configuration."""


def recognised(path: Path) -> bool:
    """Tell whether `path` has the header of Darknet and plausible floats after it."""
    try:
        with path.open("rb") as file:
            version = struct.unpack("<3i", file.read(VERSION_BYTES))
            seen = file.read(_seen_bytes(*version[:2]))
            size = file.seek(0, 2)
            start = VERSION_BYTES + len(seen)
            file.seek(start)
            floats = np.frombuffer(file.read(4 * LOOKED_AT)[: (size - start) // 4 * 4], "<f4")
    except (OSError, struct.error):
        return False
    plausible = version[0] == 0 and version[1] in (1, 2, 3) and 0 <= version[2] <= 10
    if not plausible or not len(floats) or size % 4:
        return False
    return bool(np.all(np.abs(floats) < LARGEST_FLOAT) and np.any(floats))


def described(path: Path) -> Description:
    """Describe the weights in `path`, in network order, by the `.cfg` beside it.

    Raises:
        FormatError: If there is no `.cfg`, or the file is not as long as that says.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        check_not_empty(path.stat().st_size)
        return _described(path, file)


def _seen_bytes(major: int, minor: int) -> int:
    """Return the width of the number of images seen; it grew with version 0.2."""
    return 8 if major * 10 + minor >= 2 and major < TRANSPOSING and minor < TRANSPOSING else 4


def _described(path: Path, file: IO[bytes]) -> Description:
    head = file.read(VERSION_BYTES)
    if len(head) < VERSION_BYTES:
        raise ClaimError(f"cut short: it has {len(head)} bytes, not even a header")
    major, minor, _ = struct.unpack("<3i", head)
    seen = int.from_bytes(file.read(_seen_bytes(major, minor)), "little")
    start, size = VERSION_BYTES + _seen_bytes(major, minor), path.stat().st_size
    transposed = major > TRANSPOSING or minor > TRANSPOSING
    cfg = _cfg_beside(path)
    network, held = _network(cfg, size - start, transposed=transposed)
    layers = network.layers[:held]
    tensors, place = [], start
    for arrays in layers:
        stored = []
        for array in arrays:
            stored.append(_stored(path, array, place))
            place += size_bytes_of([[array]])
        tensors += sorted(stored, key=lambda tensor: _rank(tensor.name))
    left = len(network.layers) - held
    note = (
        f"holds the first {held} layers with weights of {cfg.name}, which has {left} more, "
        "as files to start training from do"
    )
    is_whole = network.batch > 0 and seen > 0 and seen % network.batch == 0
    return Description(
        format=FORMAT,
        tensors=tuple(tensors),
        step=seen // network.batch if is_whole else None,
        step_key=f"images seen / batch of {network.batch}" if is_whole else "",
        files=(str(path),),
        notes=(note,) if left else (),
        beside=(str(cfg),),
    )


def _rank(name: str) -> tuple[int, int]:
    """Return the place of an array in its layer: a convolution before its norm, weights first."""
    order = ("weight", "bias", "running_mean", "running_var")
    return ".bn." in name, order.index(name.rpartition(".")[2])


def _network(cfg: Path, data_bytes: int, *, transposed: bool) -> tuple[Network, int]:
    """Return the network, and how many of its layers the file holds: all, or the first ones.

    Versions differ in the bias of [batchnorm] layers; the length of the file decides.
    """
    sections = sections_in(_text(cfg))
    tries = [
        network_of(sections, transposed=transposed, batchnorm_has_bias=bias)
        for bias in (False, True)
    ]
    for network in tries:
        if network.layers and size_bytes_of(network.layers) == data_bytes:
            return network, len(network.layers)
    for network in tries:
        total = 0
        for held, arrays in enumerate(network.layers, start=1):
            total += size_bytes_of([arrays])
            if total == data_bytes:
                return network, held
    needed = size_bytes_of(tries[0].layers)
    raise ClaimError(
        f"holds {data_bytes} bytes of weights, {quoted(cfg.name)} beside it needs {needed}: "
        "it is cut short, or of another network; put the .cfg it was trained with beside it"
    )


def _cfg_beside(path: Path) -> Path:
    """Return the configuration of the network."""
    stems = [path.stem, NUMBERED.sub("", path.stem)]
    for stem in stems:
        cfg = path.with_name(f"{stem}.cfg")
        if cfg.is_file():
            return cfg
    alone = [entry for entry in sorted(path.parent.iterdir()) if entry.name.endswith(".cfg")]
    if len(alone) == 1 and alone[0].is_file():
        return alone[0]
    found = f"; there are {len(alone)} others" if alone else ""
    raise ClaimError(
        "is a list of floats without names and shapes, which are in the .cfg of the network; "
        f"copy that beside it as {stems[-1]}.cfg{found}"
    )


def _text(cfg: Path) -> str:
    size = cfg.stat().st_size
    if size > MOST_CFG_BYTES:
        raise ClaimError(f"its .cfg has {size} bytes, too many for a configuration")
    with cfg.open("rb") as file:
        return file.read(MOST_CFG_BYTES).decode("utf-8", "replace")


def _stored(path: Path, array: Array, place: int) -> StoredTensor:
    hints = Hints(array.layer, array.kind, array.role, array.axes)
    return StoredTensor(array.name, Extent(str(path), place, "float32", array.shape), hints)
