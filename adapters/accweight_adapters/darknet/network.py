"""The network in a Darknet `.cfg`: which weights its layers have, in the order of the file.

A configuration is sections of ``key=value``. The number of channels, and for dense layers height
and width, follow from layer to layer as in `parser.c` of Darknet. Layers with weights that are not
known here are refused, as everything behind them would be misplaced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from accweight_adapters.untrusted import ClaimError, checked_shape, quoted
from accweight_core.schema import Axis, Kind, Role

MOST_LAYERS: Final = 10_000
MOST_LINE: Final = 10_000
LARGEST: Final = 1 << 24
"""Limit of numbers in configurations."""

WITHOUT_WEIGHTS = re.compile(
    r"dropout|soft(max)?|region|(gaussian_)?yolo|detection|cost|activation|logistic|l2norm"
    r"|normalization|lrn|sam|empty|silence|contrastive|iseg|logxent"
)
"""Types of layers without weights that keep the shape, or whose shape nothing follows."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a configuration."""

    kind: str
    options: Mapping[str, str]

    def number(self, key: str, usual: int = 0) -> int:
        """Return a number, or the usual one.

        Raises:
            ClaimError: If it is none, negative or far too large.
        """
        text = self.options.get(key, "").strip()
        if not text:
            return usual
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not 0 <= int(text) < LARGEST:
            raise ClaimError(f"its .cfg says {quoted(f'{key}={text}')}, which cannot be true")
        return int(text)

    def numbers(self, key: str) -> list[int]:
        """Return a list of numbers, which may be negative."""
        text = self.options.get(key, "")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not all(re.fullmatch(r"-?[0-9]{1,9}", part) for part in parts):
            raise ClaimError(f"its .cfg says {quoted(f'{key}={text}')}, which cannot be true")
        return [int(part) for part in parts]


@dataclass(frozen=True, slots=True)
class Array:
    """One array of weights: name, shape, and what it is."""

    name: str
    shape: tuple[int, ...]
    layer: str
    kind: Kind
    role: Role
    axes: tuple[Axis, ...] | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Channels, height and width of the output of a layer; None where nothing tells."""

    channels: int
    height: int | None
    width: int | None

    @property
    def elements(self) -> int:
        """Number of outputs.

        Raises:
            ClaimError: If it is unknown.
        """
        if self.height is None or self.width is None:
            raise ClaimError("its .cfg has a dense layer whose number of inputs cannot be told")
        return self.channels * self.height * self.width


@dataclass(slots=True)
class Network:
    """The arrays of a network by layer, in the order of the file.

    Attributes:
        batch: Images per update, 0 if unknown.
        layers: Arrays of each layer with weights.
    """

    batch: int
    layers: list[list[Array]] = field(default_factory=list)


def sections_in(text: str) -> list[Section]:
    """Return the sections of a configuration.

    Raises:
        ClaimError: If a line is neither a section nor an option, or there are too many.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        plain = re.sub(r"\s", "", line[:MOST_LINE])
        if not plain or plain[0] in "#;":
            continue
        if plain[0] == "[":
            found.append((plain.strip("[]").lower(), {}))
        else:
            key, equals, value = plain.partition("=")
            if not equals or not found:
                raise ClaimError(f"its .cfg has a line {quoted(plain)}, which is no option")
            found[-1][1][key] = value
    if len(found) > MOST_LAYERS:
        raise ClaimError(f"its .cfg lists more than {MOST_LAYERS} layers")
    if not found or found[0][0] not in ("net", "network"):
        raise ClaimError("its .cfg does not begin with [net]")
    return [Section(kind, options) for kind, options in found]


def network_of(
    sections: Sequence[Section], *, transposed: bool, batchnorm_has_bias: bool
) -> Network:
    """Return the arrays of a network.

    Args:
        sections: Its configuration.
        transposed: Whether matrices are stored inputs first, as by the oldest versions.
        batchnorm_has_bias: Whether [batchnorm] layers have a bias, which depends on the version.

    Raises:
        ClaimError: If a layer is unknown, or its size cannot be told.
    """
    net = sections[0]
    network = Network(net.number("batch", 1))
    start = net.number("inputs", 0)
    size = Size(net.number("channels"), net.number("height") or None, net.number("width") or None)
    if not size.channels and start:
        size = Size(start, 1, 1)
    if not size.channels:
        raise ClaimError(
            "its .cfg has no channels, and no inputs: the shape of its layers cannot be told"
        )
    sizes: list[Size] = []
    walk = _Walk(transposed, batchnorm_has_bias)
    for index, section in enumerate(sections[1:]):
        arrays, size = walk.layer(index, section, size, sizes)
        if (
            size.channels >= LARGEST
            or (size.height or 0) >= LARGEST
            or (size.width or 0) >= LARGEST
        ):
            raise ClaimError(f"its .cfg makes the output of layer {index} far too large")
        sizes.append(size)
        if arrays:
            network.layers.append(arrays)
    return network


class _Walk:
    """The arrays and the output size of layers, by type."""

    def __init__(self, transposed: bool, batchnorm_has_bias: bool) -> None:
        self._transposed = transposed
        self._batchnorm_has_bias = batchnorm_has_bias
        self._recurrent: dict[str, Callable[[str, Section, Size], Iterator[Array]]] = {
            "rnn": self._rnn,
            "lstm": self._lstm,
            "gru": self._gru,
        }

    def layer(
        self, index: int, section: Section, size: Size, before: Sequence[Size]
    ) -> tuple[list[Array], Size]:
        """Return the arrays of a layer and the size of its output."""
        kind, name = section.kind, f"layers.{index}"
        if kind in ("convolutional", "conv"):
            return self._conv(name, section, size)
        if kind in ("deconvolutional", "deconv"):
            return self._deconv(name, section, size)
        if kind in ("connected", "conn"):
            outputs = section.number("output", 1)
            normalised = bool(section.number("batch_normalize"))
            arrays = list(self._dense(f"{name}.linear", size.elements, outputs, normalised))
            return arrays, Size(outputs, 1, 1)
        if kind in ("batchnorm", "batch_normalize"):
            return list(self._norm(name, size.channels, self._batchnorm_has_bias)), size
        if kind in self._recurrent:
            arrays = list(self._recurrent[kind](name, section, size))
            return arrays, Size(section.number("output", 1), 1, 1)
        return [], _shape_after(index, section, size, before)

    def _conv(self, name: str, section: Section, size: Size) -> tuple[list[Array], Size]:
        filters, side = section.number("filters", 1), section.number("size", 1)
        groups = section.number("groups", 1) or 1
        if size.channels % groups:
            raise ClaimError(f"its .cfg splits {size.channels} channels into {groups} groups")
        shape = (filters, size.channels // groups, side, side)
        after = _strided(section, size, filters)
        if section.options.get("share_index"):
            return [], after
        flipped = bool(section.number("flipped"))
        stored = (*shape[1:], filters) if flipped else shape
        window = (Axis.KERNEL, Axis.KERNEL)
        axes = (Axis.INPUT, *window, Axis.OUTPUT) if flipped else (Axis.OUTPUT, Axis.INPUT, *window)
        normalised = bool(section.number("batch_normalize"))
        weight = Array(f"{name}.conv.weight", stored, f"{name}.conv", Kind.CONV, Role.WEIGHT, axes)
        return [*self._offsets(name, "conv", filters, Kind.CONV, normalised), weight], after

    def _deconv(self, name: str, section: Section, size: Size) -> tuple[list[Array], Size]:
        filters, side = section.number("filters", 1), section.number("size", 1)
        stride = section.number("stride", 1)
        pad = side // 2 if section.number("pad") else section.number("padding")
        height, width = (
            None if n is None else max(0, (n - 1) * stride + side - 2 * pad)
            for n in (size.height, size.width)
        )
        normalised = bool(section.number("batch_normalize"))
        axes = (Axis.INPUT, Axis.OUTPUT, Axis.KERNEL, Axis.KERNEL)
        kind, layer = Kind.CONV_TRANSPOSE, f"{name}.deconv"
        shape = (size.channels, filters, side, side)
        weight = Array(f"{layer}.weight", shape, layer, kind, Role.WEIGHT, axes)
        arrays = [*self._offsets(name, "deconv", filters, kind, normalised), weight]
        return arrays, Size(filters, height, width)

    def _offsets(
        self, name: str, part: str, filters: int, kind: Kind, normalised: bool
    ) -> Iterator[Array]:
        """Yield what comes before the weights of a convolution: its bias, or that of its norm."""
        if normalised:
            yield from self._norm(f"{name}.bn", filters, True)
        else:
            layer = f"{name}.{part}"
            yield Array(f"{layer}.bias", (filters,), layer, kind, Role.BIAS)

    def _dense(self, layer: str, inputs: int, outputs: int, normalised: bool) -> Iterator[Array]:
        shape = (inputs, outputs) if self._transposed else (outputs, inputs)
        axes = (Axis.OUTPUT, Axis.INPUT)
        yield Array(f"{layer}.bias", (outputs,), layer, Kind.LINEAR, Role.BIAS)
        yield Array(
            f"{layer}.weight", shape, layer, Kind.LINEAR, Role.WEIGHT,
            axes[::-1] if self._transposed else axes,
        )  # fmt: skip
        if normalised:
            yield from self._norm(f"{layer}.bn", outputs, False)

    def _norm(self, layer: str, channels: int, has_bias: bool) -> Iterator[Array]:
        names = (*(("bias",) if has_bias else ()), "weight", "running_mean", "running_var")
        for name in names:
            role = Role.BUFFER if name.startswith("running") else Role.NORM
            yield Array(f"{layer}.{name}", (channels,), layer, Kind.NORM, role)

    def _rnn(self, name: str, section: Section, size: Size) -> Iterator[Array]:
        outputs, normalised = section.number("output", 1), bool(section.number("batch_normalize"))
        inputs = {"input": size.elements, "self": outputs, "output": outputs}
        for part, width in inputs.items():
            yield from self._dense(f"{name}.{part}", width, outputs, normalised)

    def _lstm(self, name: str, section: Section, size: Size) -> Iterator[Array]:
        yield from self._gates(name, section, size, "ifog")

    def _gru(self, name: str, section: Section, size: Size) -> Iterator[Array]:
        yield from self._gates(name, section, size, "zrh")

    def _gates(self, name: str, section: Section, size: Size, gates: str) -> Iterator[Array]:
        """Yield the dense layers of a cell: those of the state (w), then of the input (u)."""
        outputs, normalised = section.number("output", 1), bool(section.number("batch_normalize"))
        for side, width in (("w", outputs), ("u", size.elements)):
            for gate in gates:
                yield from self._dense(f"{name}.{side}{gate}", width, outputs, normalised)


def _strided(section: Section, size: Size, channels: int) -> Size:
    """Return the output size of a convolution."""
    side, stride = section.number("size", 1), section.number("stride", 1) or 1
    pad = side // 2 if section.number("pad") else section.number("padding")
    across = section.number("stride_x", stride) or 1
    down = section.number("stride_y", stride) or 1
    reach = (side - 1) * (section.number("dilation", 1) or 1) + 1
    height = None if size.height is None else max(0, (size.height + 2 * pad - reach) // down + 1)
    width = None if size.width is None else max(0, (size.width + 2 * pad - reach) // across + 1)
    return Size(channels, height, width)


def _shape_after(index: int, section: Section, size: Size, before: Sequence[Size]) -> Size:
    """Return the output size of a layer without weights.

    Raises:
        ClaimError: If its type is unknown, or may have weights.
    """
    kind = section.kind
    stride = section.number("stride", 1) or 1
    if kind in ("maxpool", "max"):
        side = section.number("size", stride)
        padding = section.number("padding", max(side - 1, 0))
        lengths = [
            None if n is None else max(0, (n + padding - side) // stride + 1)
            for n in (size.height, size.width)
        ]
        return Size(size.channels, *lengths)
    if kind in ("avgpool", "avg"):
        return Size(size.channels, 1, 1)
    if kind == "upsample":
        return _scaled(size, section.number("stride", 2) or 1, 1)
    if kind == "reorg":
        return Size(size.channels * stride * stride, *_over(size, stride))
    if kind == "crop":
        return Size(size.channels, section.number("crop_height"), section.number("crop_width"))
    if kind == "route":
        return _routed(index, section, before)
    if kind == "shortcut" and section.options.get("weights_type", "none") == "none":
        return size
    if kind == "scale_channels":
        return _at(index, section.numbers("from")[:1], before)[0]
    if WITHOUT_WEIGHTS.fullmatch(kind):
        return size
    raise ClaimError(
        f"its .cfg has a layer [{quoted(kind)[1:-1]}], whose weights are not known here"
    )


def _over(size: Size, stride: int) -> tuple[int | None, int | None]:
    height, width = size.height, size.width
    return (
        None if height is None else height // stride,
        None if width is None else width // stride,
    )


def _scaled(size: Size, factor: int, channels: int) -> Size:
    height, width = size.height, size.width
    return Size(
        size.channels * channels,
        None if height is None else height * factor,
        None if width is None else width * factor,
    )


def _routed(index: int, section: Section, before: Sequence[Size]) -> Size:
    """Return the size of layers joined along their channels, or of one group of each."""
    sources = _at(index, section.numbers("layers"), before)
    groups = section.number("groups", 1) or 1
    channels = sum(source.channels // groups for source in sources)
    return Size(channels, sources[0].height, sources[0].width)


def _at(index: int, places: Sequence[int], before: Sequence[Size]) -> list[Size]:
    """Return the sizes of earlier layers, which are counted from here if negative."""
    absolute = [index + place if place < 0 else place for place in places]
    if not absolute or not all(0 <= place < len(before) for place in absolute):
        raise ClaimError(f"its .cfg leads layer {index} to a layer that is not before it")
    return [before[place] for place in absolute]


def size_bytes_of(layers: Sequence[Sequence[Array]]) -> int:
    """Return the bytes of the arrays of some layers."""
    shapes = (checked_shape(list(array.shape)) for arrays in layers for array in arrays)
    return 4 * sum(map(math.prod, shapes))
