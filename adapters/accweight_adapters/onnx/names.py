"""Names in ONNX files: which are meaningful, and which module they belong to.

Frameworks name parameters by module (`encoder.0.weight`, `conv1_w_0`, `dense/kernel:0`); exporters
generate names when they fold or transpose (`onnx::MatMul_215`, `val_7`); nodes are named by the
path of modules (`/encoder/encoder.0/Gemm`). All three are parsed here.
"""

from __future__ import annotations

import re

from accweight_core.schema import Role

MADE_UP = re.compile(
    r"(onnx::\w+|(node_)?val_\d+|_?[vt]?_?\d+|Parameter\d+(_\w+)?|(.*[/.])?_?Constant(_\d+)*"
    r"|const(ant)?_*(fold_opt_+)?\d+|(tensor|initializer|ortshared)_\d\w*)"
    r"(_[Oo]utput_\d+)?(_quantized)?(@\d+)?"
)
"""Names that exporters generate, which do not reveal the module."""

SUFFIX = re.compile(
    r"(?P<module>.+?)_(?P<leaf>w|b|s|W|B|R|weights?|bias(es)?|kernel|gamma|beta|scale|riv|rm|mean|var"
    r"|(running|moving)_(mean|var|variance)|slope)(_\d+)?"
)
"""Names without dots, as caffe2 and MXNet write them."""

TENSORFLOW_TAIL = re.compile(
    r"ReadVariableOp(_\d+)?|Read|resource|MatMul|Conv\w*|BiasAdd|Tensordot|FusedBatchNorm\w*"
    r"|batchnorm|kernel|bias|gamma|beta|moving_mean|moving_variance|embeddings|embedding_lookup"
)
NUMBERED = re.compile(r"onnx::\w+_\d+")
"""Names that the legacy torch exporter generates when it folds, equal in every export."""

OPERATOR_NAME = re.compile(r"[A-Z]\w*?(_\d+)?(_quant\w*)?")
OUTPUT_NAME = re.compile(r"_[Oo]utput_\d+$|:\d+$")

BUFFER = re.compile(
    r"(.*_)?buffers?|running_(mean|var)|num_batches_tracked|(.*_)?inv_freq|(cos|sin)_cached?|(.*_)?mask"
)
COUNTER = re.compile(r"num_batches_tracked|(.*_)?(counter|n_averaged)")
TABLE = re.compile(r"embed|token|prompt|(^|_)pos(ition|itional)?(_|$)")
ONE_MODULE = re.compile(
    r"(weight|bias)_(ih|hh)(_.*)?|[qkv]_proj_(weight|bias)|in_proj_(weight|bias)"
)
"""Weights of one module in a framework although several operators use them."""

RECURRENT = re.compile(r"(weight|bias)_(ih|hh)(_.*)?")
PACKED = re.compile(r"in_proj_(weight|bias)|(.*\.)?(qkv|c_attn)\.(weight|bias)")
ATTENTION = re.compile(
    r"(\w+_)?(attn|attention|mha)\d*|multi_?head\w*|[qkvo]_proj|to_(q|k|v|qkv|out)|qkv|query|key|value"
)
FEED_FORWARD = re.compile(r"mlp|ffn?|feed_?forward|intermediate")


def is_meaningful(name: str) -> bool:
    """Tell whether a tensor's name comes from the model and not from the exporter."""
    return bool(name) and MADE_UP.fullmatch(name) is None


def is_parameter(name: str) -> bool:
    """Tell whether a name after an Identity is that of a parameter, not of a result.

    >>> [is_parameter(name) for name in ("enc.0.bias", "onnx::Add_7", "val_7", "/e.0/Add")]
    [True, True, False, False]
    """
    dotted = "." in name and "/" not in name and "::" not in name and is_meaningful(name)
    return dotted or NUMBERED.fullmatch(name) is not None


def split(name: str) -> tuple[str, str]:
    """Return the module and the leaf of a parameter's name; the leaf may be empty.

    >>> split("encoder.0.weight"), split("fire2/squeeze1x1_w_0"), split("pos_embed")
    (('encoder.0', 'weight'), ('fire2.squeeze1x1', 'w'), ('pos_embed', ''))
    """
    name, copy, number = name.partition("@")
    name = re.sub(r":\d+$", "", name).removesuffix("_quantized").strip("/")
    parts = name.split("/")
    leaf = ""
    while len(parts) > 1 and TENSORFLOW_TAIL.fullmatch(parts[-1]):
        leaf = parts.pop()
    module = ".".join(parts)
    suffixed = SUFFIX.fullmatch(module)
    if not leaf and "." in parts[-1]:
        module, _, leaf = module.rpartition(".")
    elif not leaf and suffixed is not None:
        module, leaf = suffixed["module"], suffixed["leaf"]
    return module + copy + number, leaf


def module_of_node(name: str, output: str) -> str:
    """Return the module in a node's name, else the name itself.

    >>> module_of_node("/net/net.0/Gemm", ""), module_of_node("Convolution28", "")
    ('net.0', 'Convolution28')
    """
    parts = path_of_node(name, output)
    if len(parts) > 1 and OPERATOR_NAME.fullmatch(parts[-1]):
        parts = parts[:-1]
    modules: list[str] = []
    for part in parts:
        if modules and part.startswith(modules[-1] + "."):
            modules.pop()
        modules.append(part)
    return ".".join(modules)


def path_of_node(name: str, output: str) -> list[str]:
    """Return the parts of a node's name, or of its output's name if it has none."""
    path = name or OUTPUT_NAME.sub("", output)
    return [part for part in path.removeprefix("node_").split("/") if part] or [path]


def role_of(name: str) -> Role:
    """Return the role of a tensor without a parameter slot, from its name."""
    module, leaf = split(name)
    leaf = leaf or module
    if BUFFER.fullmatch(leaf):
        return Role.BUFFER
    if TABLE.search(leaf):
        return Role.EMBEDDING
    if leaf in ("bias", "beta", "b", "B") or leaf.endswith("_bias"):
        return Role.BIAS
    named = leaf in ("weight", "w", "W", "kernel", "gamma", "alpha", "scale", "slope")
    return Role.WEIGHT if named or leaf.endswith("_weight") else Role.BUFFER


def is_buffer(name: str) -> bool:
    """Tell whether a name is that of a constant table or a statistic."""
    module, leaf = split(name)
    return BUFFER.fullmatch(leaf or module) is not None


def in_attention(*paths: str) -> bool:
    """Tell whether a name lies in an attention block, and not in its feed-forward part."""
    return any(_is_attention(re.split(r"[./]", path)) for path in paths)


def _is_attention(parts: list[str]) -> bool:
    for part in reversed(parts):
        if FEED_FORWARD.fullmatch(part):
            return False
        if ATTENTION.fullmatch(part):
            return True
    return False
