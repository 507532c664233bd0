"""Infer layer, kind, role and axes of a tensor from its name and shape.

A state_dict holds names and shapes only, but the naming conventions are strong enough to tell a
convolution from an embedding. What a reader knows (`Hints`) takes precedence; a parameter that
no rule matches is a weight of kind other, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from accweight_core.dtypes import DTYPES
from accweight_core.errors import UnknownNameError
from accweight_core.orientation import INPUTS_FIRST, Matrix, inputs_first
from accweight_core.schema import (
    DEFAULT_ROLES,
    Axis,
    Kind,
    Layer,
    Parameter,
    Role,
    Split,
    StoredTensor,
)
from accweight_core.text import meant

_BUFFERS = re.compile(
    r"(^|[._])(running_mean|running_var|num_batches_tracked|position_ids|inv_freq|freqs_cis"
    r"|cos_cached|sin_cached|pe|mask|attn_mask|causal_mask|masked_bias|relative_position_index"
    r"|(?<![._])betas|(sqrt_|log_)?(one_minus_)?alphas_cumprod(_prev)?|sqrt_recip(m1)?_alphas_cumprod"
    r"|posterior_(variance|log_variance_clipped|mean_coef[12])|lvlb_weights"
    r"|moving_mean|moving_variance|anchors|rotary_emb\.\w+|rope\.freqs|weight_mask)$"
)
_NORM = re.compile(r"(^|[._\d])(bn\d*|ln(_\w+|\d*)|gn\d*)([._\d]|$)", re.IGNORECASE)
_EMBEDDING = re.compile(
    r"(^|[._])(wte|wpe|emb|tok_emb|pos_emb|shared)([._]|$)|(^|[.])pos(ition(al)?)?s?$",
    re.IGNORECASE,
)
_ATTENTION = re.compile(
    r"(^|[._])(mha|[qkvo]_proj|qkv(_proj)?|in_proj_weight)([._]|$)", re.IGNORECASE
)
_TRANSPOSED = re.compile(r"(^|[._])(deconv|convt|upconv)\w*([._\d]|$)", re.IGNORECASE)
_RECURRENT = re.compile(r"^(?P<matrix>weight|bias)_(?P<of>ih|hh|hr)(_l\d+)?(_reverse)?$")
_BIAS = re.compile(r"(^|[._])(bias|beta|b|in_proj_bias)$")
_FUSED_QKV = re.compile(
    r"(^|[._])(in_proj_weight|qkv(_proj)?\.weight|c_attn\.weight|Wqkv\.weight)$"
)

_TABLE = re.compile(
    r"(^|_)(cls|class|mask|dist|sep)_token$|embed(ding)?s?$|(^|[.])(cls|pos(ition(al)?)?s?)$",
    re.IGNORECASE,
)
"""Names of tables that are added to, or stand among, the embeddings of tokens."""
_ALONE = re.compile(
    r"(weight|bias|in_proj|q_proj|k_proj|v_proj|bias_k|bias_v|running_mean|running_var"
    r"|num_batches_tracked)(_\w+)?"
)
"""Names without a module, from the state of a single layer."""

_REPARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original\d?$")
_MATRIX = re.compile(r"(weight(_orig|_v)?|kernel|parametrizations\.weight\.original\d?)$")

_BIAS_OF = {"weight": "bias", "in_proj_weight": "in_proj_bias", "kernel": "bias"}

WRAPPING_SEGMENTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts that torch.compile, FSDP and activation checkpointing insert anywhere in names."""

TABLE_AGAIN = re.compile(
    r"(^|\.)(lm_head|embed_out|proj_out|vocab_projector|lm_head\.decoder|predictions\.decoder"
    r"|(encoder|decoder)\.embed_tokens|output)\.weight$|^decoder\.weight$"
)
"""Names of output layers, and of second tables, that may be the embedding by another name."""

SECOND_NAME = re.compile(rf"{TABLE_AGAIN.pattern}|(lm_head|predictions)\.decoder\.bias$")
"""Names that are left out where they share their place; other names may be meant to be two."""

GATES = {Kind.LSTM: ("i", "f", "g", "o"), Kind.GRU: ("r", "z", "n")}
"""Order in which PyTorch stacks gates; readers of other frameworks give theirs as `Hints`."""


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts epoch_2 before epoch_10."""
    parts = re.split(r"(\d+)", text)
    return tuple(_number_key(p) if p.isdecimal() else (1, 0, p) for p in parts if p)


def _number_key(digits: str) -> tuple[int, int, str]:
    """Return a key that orders numbers of any length: `int` refuses thousands of digits."""
    significant = digits.lstrip("0")
    return 0, len(significant), significant


def _says(text: str, words: Iterable[str], pattern: re.Pattern[str]) -> bool:
    """Tell whether a name has a word anywhere, or what a pattern finds.

    A word with anything around it, as a pattern, would take minutes for a name of a megabyte.
    """
    lower = text.lower()
    return any(word in lower for word in words) or pattern.search(text) is not None


def _is_attention(text: str) -> bool:
    return _says(text, ("attn", "attention"), _ATTENTION)


def _is_bias(leaf: str) -> bool:
    """Tell whether the last part of a name is that of a bias: `bias`, `b`, `bias_ih_l0`."""
    if _BIAS.search(leaf):
        return True
    last = "_" + leaf.rpartition(".")[2]
    _, found, rest = last[:-1].rpartition("_bias_")
    return bool(found) and re.fullmatch(r"\w*", rest + last[-1]) is not None


def module_of(name: str) -> str:
    """Return the module part of a dotted parameter name, the name itself if it has none."""
    module, _, _ = _REPARAMETRIZED.sub(r".\1", name).rpartition(".")
    return module or ("model" if _ALONE.fullmatch(name) else name)


def leaf_of(name: str, layer: str) -> str:
    """Return the name of a parameter within its layer.

    >>> leaf_of("h.0.attn.q.weight", "h.0.attn"), leaf_of("dense/bias", "dense"), leaf_of("w", "w")
    ('q.weight', 'bias', 'w')
    """
    return name.removeprefix(layer).lstrip("./") or name


def without_wrappers(names: Iterable[str]) -> list[str]:
    """Return names of parameters without what wrappers of modules add; two may become equal."""
    bare = [
        ".".join(part for part in name.split(".") if part not in WRAPPING_SEGMENTS)
        for name in names
    ]
    while bare and all(name.startswith("module.") for name in bare):
        bare = [name.removeprefix("module.") for name in bare]
    return bare


def parameter_called(name: str, parameters: Sequence[Parameter]) -> Parameter:
    """Return the parameter of a name; for a layer's name, its weight.

    ``fc1`` means ``fc1.weight`` where ``fc1.bias`` is the only other parameter of the layer.

    Raises:
        UnknownNameError: If there is none, or several are possible; the message lists them.
    """
    for parameter in parameters:
        if parameter.name == name:
            return parameter
    members = [parameter for parameter in parameters if parameter.layer == name]
    weights = [parameter for parameter in members if parameter.role in DEFAULT_ROLES]
    for candidates in (weights, members):
        if len(candidates) == 1:
            return candidates[0]
    if members:
        listed = ", ".join(parameter.name for parameter in weights or members)
        raise UnknownNameError(f"{name!r} is a layer of several parameters; name one: {listed}")
    some = ", ".join(parameter.name for parameter in parameters[:8])
    known = dict.fromkeys(
        one for parameter in parameters for one in (parameter.layer, parameter.name)
    )
    raise UnknownNameError(
        f"no parameter is called {name!r}; {meant(name, known)}there are "
        f"{len(parameters)}: {some}" + (", ..." if len(parameters) > 8 else "")
    )


@dataclass(frozen=True)
class _Named:
    """One tensor and its layer, before the kind is known."""

    tensor: StoredTensor
    layer: str

    @property
    def leaf(self) -> str:
        return leaf_of(self.tensor.name, self.layer)


def layers_of(
    tensors: Iterable[StoredTensor], dtypes: Mapping[str, str] | None = None
) -> tuple[Layer, ...]:
    """Group tensors by module, in the given order, and infer what each is.

    Args:
        tensors: The tensors of one checkpoint, in network order.
        dtypes: Element type to report, by name, where it differs from the tensor's own.
    """
    groups: dict[str, list[_Named]] = {}
    for tensor in tensors:
        layer = tensor.hints.layer or module_of(tensor.name)
        groups.setdefault(layer, []).append(_Named(tensor, layer))
    kinds = {name: _known_kind(members) or _kind(name, members) for name, members in groups.items()}
    turned = _stored_inputs_first(groups, kinds)
    return tuple(
        Layer(name, kinds[name], tuple(_parameter(m, kinds[name], turned) for m in members))
        for name, members in groups.items()
    )


def _known_kind(members: list[_Named]) -> Kind | None:
    return next((m.tensor.hints.kind for m in members if m.tensor.hints.kind), None)


def _stored_inputs_first(
    groups: Mapping[str, list[_Named]], kinds: Mapping[str, Kind]
) -> dict[str, str]:
    """Return the matrices that are stored (inputs, outputs), and what tells so."""
    matrices: list[Matrix] = []
    norms: dict[str, list[int]] = {}
    for layer, members in groups.items():
        kind = kinds[layer]
        if kind is Kind.NORM:
            norms[layer] = [m.tensor.shape[0] for m in members if len(m.tensor.shape) == 1]
        elif kind is Kind.LINEAR or kind is Kind.ATTENTION:
            shapes = {m.leaf: m.tensor.shape for m in members} if members[1:] else {}
            for member in members:
                tensor = member.tensor
                if len(tensor.shape) == 2 and not tensor.hints.axes:
                    bias = _BIAS_OF.get(member.leaf)
                    if bias:
                        matrices.append(
                            Matrix(tensor.name, layer, tensor.shape, shapes.get(bias, ()))
                        )
    return inputs_first(matrices, norms)


def _parameter(member: _Named, kind: Kind, turned: Mapping[str, str]) -> Parameter:
    tensor, hints = member.tensor, member.tensor.hints
    role = hints.role or _role(member, kind)
    axes = hints.axes if hints.axes and len(hints.axes) == len(tensor.shape) else None
    axes_from = hints.axes_from if axes else ""
    if tensor.name in turned:
        axes, axes_from = INPUTS_FIRST, turned[tensor.name]
    axes = axes or usual_axes(tensor.shape, kind, role)
    return Parameter(
        name=tensor.name,
        layer=member.layer,
        kind=kind,
        role=role,
        shape=tensor.shape,
        dtype=tensor.dtype,
        axes=axes,
        sections=hints.sections or _sections(member, kind, role, axes),
        split=hints.split if hints.split and fits(hints.split, tensor.shape, axes) else None,
        axes_from=axes_from,
    )


def fits(split: Split, shape: tuple[int, ...], axes: tuple[Axis, ...]) -> bool:
    """Tell whether parts add up to the length of the axes they lie along; a bias has one axis."""
    if len(shape) == 1:
        return split.along is Axis.OUTPUT and split.size == shape[0]
    lengths = [n for n, axis in zip(shape, axes, strict=True) if axis is split.along]
    return bool(lengths) and math.prod(lengths) == split.size


def _kind(layer: str, members: list[_Named]) -> Kind:
    """Infer the kind of a layer from the names and shapes of its tensors."""
    leaves = {member.leaf: member.tensor.shape for member in members}
    if "running_mean" in leaves or "moving_mean" in leaves:
        return Kind.NORM
    recurrent = _recurrent_kind(leaves)
    if recurrent:
        return recurrent
    ranks = [len(shape) for leaf, shape in leaves.items() if not _is_bias(leaf)]
    rank = max(ranks, default=1)
    if rank <= 1:
        return Kind.NORM if ranks and _looks_like_norm(layer, leaves) else Kind.OTHER
    matrices = [shape for leaf, shape in leaves.items() if _MATRIX.search(leaf)]
    matrix = max(matrices, key=len, default=())
    if rank in (3, 4, 5) and len(matrix) == rank:
        return Kind.CONV_TRANSPOSE if _is_transposed(layer, matrix, leaves) else Kind.CONV
    if rank > 2:
        return Kind.OTHER
    last = ".".join(layer.split(".")[-2:])
    if (
        _says(last, ("embed",), _EMBEDDING)
        and "bias" not in leaves
        and not last.endswith("embed_out")
    ):
        return Kind.EMBEDDING
    if _is_attention(layer) or any(map(_is_attention, leaves)):
        return Kind.ATTENTION
    return Kind.LINEAR


def _is_transposed(
    layer: str, matrix: tuple[int, ...], leaves: Mapping[str, tuple[int, ...]]
) -> bool:
    """Tell whether a matrix is stored (inputs, outputs): by the size of its bias, else by names."""
    outputs = leaves.get("bias", ())
    if len(outputs) == 1 and (outputs[0] == matrix[0]) != (outputs[0] == matrix[1]):
        return outputs[0] == matrix[1]
    return _says(layer, ("transpose",), _TRANSPOSED)


def _looks_like_norm(layer: str, leaves: Mapping[str, tuple[int, ...]]) -> bool:
    if "relu" in layer.lower():
        return False
    return _says(layer, ("norm",), _NORM) or set(leaves) <= {
        "weight",
        "bias",
        "scale",
        "gamma",
        "beta",
    }


def _recurrent_kind(leaves: Mapping[str, tuple[int, ...]]) -> Kind | None:
    """Tell LSTM, GRU and RNN apart by the number of gates stacked on the hidden size."""
    for leaf, shape in leaves.items():
        match = _RECURRENT.match(leaf)
        if match and match["matrix"] == "weight" and match["of"] == "hh" and len(shape) == 2:
            gates = shape[0] / shape[1] if shape[1] else 0
            return {4: Kind.LSTM, 3: Kind.GRU, 1: Kind.RNN}.get(int(gates), Kind.LSTM)
    return None


def names_buffer(name: str) -> bool:
    """Tell whether a name is that of a tensor that is not trained, as `pos_encoder.pe` is."""
    return _BUFFERS.search(name) is not None


def _role(member: _Named, kind: Kind) -> Role:
    family = DTYPES[member.tensor.dtype].family if member.tensor.dtype in DTYPES else "float"
    shape, leaf = member.tensor.shape, member.leaf
    codes = family == "integer" and "weight" in leaf and member.tensor.dtype != "int64"
    is_mask = leaf == "bias" and len(shape) == 4 and shape[:2] == (1, 1)
    if names_buffer(member.tensor.name) or is_mask or (family in ("bool", "integer") and not codes):
        return Role.BUFFER
    if len(shape) > 2 and _TABLE.search(member.tensor.name):
        return Role.EMBEDDING
    if kind is Kind.NORM:
        return Role.NORM
    if _is_bias(member.leaf):
        return Role.BIAS
    if kind is Kind.EMBEDDING:
        return Role.EMBEDDING
    return Role.WEIGHT


def usual_axes(shape: tuple[int, ...], kind: Kind, role: Role) -> tuple[Axis, ...]:
    """Return the meaning of the axes in PyTorch's order."""
    if len(shape) < 2 or role in (Role.BIAS, Role.NORM, Role.BUFFER):
        return (Axis.OTHER,) * len(shape)
    if kind is Kind.CONV:
        return (Axis.OUTPUT, Axis.INPUT) + (Axis.KERNEL,) * (len(shape) - 2)
    if kind is Kind.CONV_TRANSPOSE:
        return (Axis.INPUT, Axis.OUTPUT) + (Axis.KERNEL,) * (len(shape) - 2)
    return (Axis.OTHER,) * (len(shape) - 2) + (Axis.OUTPUT, Axis.INPUT)


def _sections(member: _Named, kind: Kind, role: Role, axes: tuple[Axis, ...]) -> tuple[str, ...]:
    """Return the names of stacked gates or projections, if the sizes are divisible."""
    shape = member.tensor.shape[::-1] if axes == INPUTS_FIRST else member.tensor.shape
    names: tuple[str, ...] = ()
    split = member.tensor.hints.split
    if split and (split.groups > 1 or len({part.size for part in split.parts}) > 1):
        return ()  # interleaved or of unequal sizes: `split` says where they lie
    if _RECURRENT.match(member.leaf):
        names = GATES.get(kind, ())
    elif kind is Kind.ATTENTION and role is Role.WEIGHT and _FUSED_QKV.search(member.tensor.name):
        names = ("q", "k", "v")
        if len(shape) == 2 and shape[0] != 3 * shape[1]:
            return ()  # unequal parts: grouped queries
    return names if names and shape and shape[0] % len(names) == 0 and len(shape) == 2 else ()
