"""What names and shapes say: kinds, roles, axes and sections of what people really save."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
import torch
from torch import Tensor, nn

from accweight_core.naming import layers_of, module_of, natural_key
from accweight_core.schema import Axis, HiddenValues, Hints, Kind, Layer, Parameter, Role
from accweight_core.schema import StoredTensor as Stored

Shapes = Mapping[str, tuple[int, ...]]


NO_HINTS = Hints()


def stored(
    name: str, shape: tuple[int, ...], dtype: str = "float32", hints: Hints = NO_HINTS
) -> Stored:
    return Stored(name, HiddenValues(lambda: None, dtype, shape), hints)


def told(state: Mapping[str, Tensor]) -> dict[str, Layer]:
    """Return the layers of a state dict by name."""
    tensors = [
        stored(name, tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in state.items()
    ]
    return {layer.name: layer for layer in layers_of(tensors)}


def of_shapes(shapes: Shapes, dtype: str = "float32") -> dict[str, Layer]:
    """Return the layers of float tensors of these shapes by name."""
    return {
        layer.name: layer
        for layer in layers_of([stored(name, shape, dtype) for name, shape in shapes.items()])
    }


def kinds(layers: Mapping[str, Layer]) -> dict[str, str]:
    return {name: str(layer.kind) for name, layer in layers.items()}


def parameters(layers: Iterable[Layer]) -> dict[str, Parameter]:
    return {p.name: p for layer in layers for p in layer.parameters}


def roles(layers: Mapping[str, Layer]) -> dict[str, str]:
    return {name: str(p.role) for name, p in parameters(layers.values()).items()}


class Cnn(nn.Module):
    """What a vision script holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.bn1 = nn.BatchNorm2d(8)
        self.features = nn.Sequential(
            nn.Conv2d(8, 8, 3, groups=8, bias=False),
            nn.BatchNorm2d(8, affine=False),
            nn.GroupNorm(2, 8),
            nn.InstanceNorm2d(8, affine=True),
            nn.ReLU(),
            nn.Conv1d(8, 4, 3),
            nn.Conv3d(8, 4, 3),
            nn.LayerNorm(4),
            nn.Linear(4, 4),
        )
        self.embedding = nn.Embedding(10, 3)
        self.fc = nn.Linear(8, 10)


def test_a_cnn_is_told_by_names_and_shapes() -> None:
    layers = told(Cnn().state_dict())

    assert kinds(layers) == {
        "conv1": "conv",
        "bn1": "norm",
        "features.0": "conv",
        "features.1": "norm",
        "features.2": "norm",
        "features.3": "norm",
        "features.5": "conv",
        "features.6": "conv",
        "features.7": "norm",
        "features.8": "linear",
        "embedding": "embedding",
        "fc": "linear",
    }
    assert {
        name: role for name, role in roles(layers).items() if not name.startswith("features")
    } == {
        "conv1.weight": "weight",
        "conv1.bias": "bias",
        "bn1.weight": "norm",
        "bn1.bias": "norm",
        "bn1.running_mean": "buffer",
        "bn1.running_var": "buffer",
        "bn1.num_batches_tracked": "buffer",
        "embedding.weight": "embedding",
        "fc.weight": "weight",
        "fc.bias": "bias",
    }


def test_the_noise_schedule_of_a_diffusion_model_is_a_constant() -> None:
    names = ["betas", "alphas_cumprod", "model.sqrt_one_minus_alphas_cumprod", "film.betas"]

    layers = told({name: torch.ones(9) for name in names})

    assert list(roles(layers).values()) == ["buffer", "buffer", "buffer", "weight"]


def test_layers_keep_the_order_of_the_file() -> None:
    names = list(told(Cnn().state_dict()))

    assert names[:3] == ["conv1", "bn1", "features.0"]
    assert names[-2:] == ["embedding", "fc"]


@pytest.mark.parametrize(
    ("module", "axes"),
    [
        (nn.Conv1d(3, 4, 5), [Axis.OUTPUT, Axis.INPUT, Axis.KERNEL]),
        (nn.Conv2d(3, 4, 5), [Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.KERNEL]),
        (nn.Conv3d(3, 4, 5), [Axis.OUTPUT, Axis.INPUT, *[Axis.KERNEL] * 3]),
        (nn.Linear(3, 4), [Axis.OUTPUT, Axis.INPUT]),
        (nn.Embedding(3, 4), [Axis.OUTPUT, Axis.INPUT]),
    ],
)
def test_axes_are_those_of_pytorch(module: nn.Module, axes: list[Axis]) -> None:
    layers = told({f"layer.{name}": value for name, value in module.state_dict().items()})

    assert list(parameters(layers.values())["layer.weight"].axes) == axes


@pytest.mark.parametrize("name", ["deconv1", "up_transpose", "upconv4", "conv_transpose", "convt1"])
def test_transposed_convolutions_are_told_by_their_names(name: str) -> None:
    state = nn.ConvTranspose2d(8, 4, 2, bias=False).state_dict()

    layers = told({f"{name}.{leaf}": value for leaf, value in state.items()})

    assert layers[name].kind is Kind.CONV_TRANSPOSE
    assert layers[name].parameters[0].axes[:2] == (Axis.INPUT, Axis.OUTPUT)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.ConvTranspose2d(8, 4, 2), Kind.CONV_TRANSPOSE),
        (nn.ConvTranspose1d(8, 4, 2), Kind.CONV_TRANSPOSE),
        (nn.Conv2d(8, 4, 2), Kind.CONV),
    ],
)
@pytest.mark.parametrize("name", ["up1.up", "upsample", "upconv2d.conv", "layer"])
def test_the_bias_tells_a_transposed_convolution_whatever_its_name(
    module: nn.Module, kind: Kind, name: str
) -> None:
    layers = told({f"{name}.{leaf}": value for leaf, value in module.state_dict().items()})

    assert layers[name].kind is kind


@pytest.mark.parametrize(
    ("module", "kind", "gates"),
    [
        (nn.LSTM(4, 6, 2, bidirectional=True), Kind.LSTM, ("i", "f", "g", "o")),
        (nn.LSTM(4, 6, proj_size=3), Kind.LSTM, ("i", "f", "g", "o")),
        (nn.GRU(4, 6, bidirectional=True), Kind.GRU, ("r", "z", "n")),
        (nn.GRU(4, 1), Kind.GRU, ("r", "z", "n")),
        (nn.RNN(4, 6, bidirectional=True), Kind.RNN, ()),
        (nn.LSTMCell(4, 6), Kind.LSTM, ("i", "f", "g", "o")),
        (nn.GRUCell(4, 6), Kind.GRU, ("r", "z", "n")),
        (nn.RNNCell(4, 6), Kind.RNN, ()),
    ],
)
def test_recurrent_layers_are_told_by_their_gates(
    module: nn.Module, kind: Kind, gates: tuple[str, ...]
) -> None:
    layers = told({f"encoder.cell.{name}": value for name, value in module.state_dict().items()})

    assert kinds(layers) == {"encoder.cell": str(kind)}
    for parameter in layers["encoder.cell"].parameters:
        is_bias = "bias" in parameter.name
        assert parameter.role is (Role.BIAS if is_bias else Role.WEIGHT)
        if not is_bias and "_hr_" not in parameter.name:
            assert parameter.sections == gates


@pytest.mark.parametrize(
    ("module", "kind"),
    [(nn.LSTM(4, 6), "lstm"), (nn.Linear(4, 3), "linear"), (nn.Conv2d(1, 2, 3), "conv"),
     (nn.MultiheadAttention(8, 2), "attention"), (nn.BatchNorm1d(4), "norm")],
)  # fmt: skip
def test_a_module_saved_alone_is_one_layer(module: nn.Module, kind: str) -> None:
    layers = told({k: v for k, v in module.state_dict().items() if "." not in k})

    assert list(kinds(layers).values()) == [kind]


def test_attention_of_pytorch_has_its_projections_and_norms() -> None:
    layers = told(nn.TransformerEncoderLayer(8, 2, 16).state_dict())

    assert kinds(layers) == {
        "self_attn": "attention",
        "self_attn.out_proj": "attention",
        "linear1": "linear",
        "linear2": "linear",
        "norm1": "norm",
        "norm2": "norm",
    }
    fused = parameters(layers.values())["self_attn.in_proj_weight"]
    assert fused.sections == ("q", "k", "v")
    assert roles(layers)["self_attn.in_proj_bias"] == "bias"


def test_attention_with_other_widths_for_keys_is_one_layer() -> None:
    state = nn.MultiheadAttention(8, 2, kdim=4, vdim=4).state_dict()

    layers = told({f"mha.{name}": value for name, value in state.items()})

    assert layers["mha"].kind is Kind.ATTENTION
    assert len(layers["mha"].parameters) == 4
    assert roles(layers)["mha.q_proj_weight"] == "weight"


@pytest.mark.parametrize("width", [8, 768])
def test_gpt2_is_told(width: int) -> None:
    layers = of_shapes(
        {
            "wte.weight": (50, width),
            "wpe.weight": (16, width),
            "h.0.ln_1.weight": (width,),
            "h.0.ln_1.bias": (width,),
            "h.0.attn.c_attn.weight": (width, 3 * width),
            "h.0.attn.c_attn.bias": (3 * width,),
            "h.0.attn.c_proj.weight": (width, width),
            "h.0.mlp.c_fc.weight": (width, 4 * width),
            "h.0.mlp.c_proj.weight": (4 * width, width),
            "ln_f.weight": (width,),
            "lm_head.weight": (50, width),
        }
    )

    assert kinds(layers) == {
        "wte": "embedding",
        "wpe": "embedding",
        "h.0.ln_1": "norm",
        "h.0.attn.c_attn": "attention",
        "h.0.attn.c_proj": "attention",
        "h.0.mlp.c_fc": "linear",
        "h.0.mlp.c_proj": "linear",
        "ln_f": "norm",
        "lm_head": "linear",
    }
    assert roles(layers)["wpe.weight"] == "embedding"


def test_sections_of_gpt2_are_not_named_along_its_inputs() -> None:
    layers = of_shapes({"h.0.attn.c_attn.weight": (768, 3 * 768)})

    fused = layers["h.0.attn.c_attn"].parameters[0]

    assert fused.sections == () or fused.axes == (Axis.INPUT, Axis.OUTPUT)


@pytest.mark.parametrize(
    ("name", "shape", "sections"),
    [
        ("blocks.0.attn.qkv.weight", (24, 8), ("q", "k", "v")),
        ("h.0.attn.c_attn.weight", (24, 8), ("q", "k", "v")),
        ("layers.0.self_attn.qkv_proj.weight", (48, 32), ()),
        ("layers.0.self_attn.q_proj.weight", (24, 8), ()),
    ],
    ids=["timm", "nanoGPT", "grouped queries", "queries alone"],
)
def test_fused_projections_have_sections_where_the_parts_are_equal(
    name: str, shape: tuple[int, ...], sections: tuple[str, ...]
) -> None:
    layers = of_shapes({name: shape})

    assert parameters(layers.values())[name].sections == sections


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_the_causal_mask_of_gpt2_is_a_buffer(dtype: str) -> None:
    layers = of_shapes({"h.0.attn.bias": (1, 1, 16, 16)}, dtype)

    assert roles(layers) == {"h.0.attn.bias": "buffer"}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bert.embeddings.position_ids", "int64"),
        ("layers.0.attn.relative_position_index", "int64"),
        ("encoder.position_ids", "int32"),
        ("counter", "int32"),
        ("fc.weight_mask", "bool"),
        ("model.rotary_emb.inv_freq", "float32"),
        ("rope.freqs", "float32"),
        ("h.0.attn.masked_bias", "float32"),
        ("pos_encoder.pe", "float32"),
        ("bn.moving_variance", "float32"),
    ],
)
def test_what_training_does_not_move_is_a_buffer(name: str, dtype: str) -> None:
    assert roles(of_shapes({name: (1, 16)}, dtype)) == {name: "buffer"}


def test_llama_is_told() -> None:
    prefix = "model.layers.0"
    layers = of_shapes(
        {
            "model.embed_tokens.weight": (50, 8),
            **{f"{prefix}.self_attn.{n}_proj.weight": (8, 8) for n in "qkvo"},
            **{f"{prefix}.mlp.{n}_proj.weight": (16, 8) for n in ("gate", "up", "down")},
            f"{prefix}.input_layernorm.weight": (8,),
            f"{prefix}.post_attention_layernorm.weight": (8,),
            f"{prefix}.self_attn.q_norm.weight": (4,),
            "model.norm.weight": (8,),
            "lm_head.weight": (50, 8),
        }
    )

    assert kinds(layers) == {
        "model.embed_tokens": "embedding",
        **{f"{prefix}.self_attn.{n}_proj": "attention" for n in "qkvo"},
        **{f"{prefix}.mlp.{n}_proj": "linear" for n in ("gate", "up", "down")},
        f"{prefix}.input_layernorm": "norm",
        f"{prefix}.post_attention_layernorm": "norm",
        f"{prefix}.self_attn.q_norm": "norm",
        "model.norm": "norm",
        "lm_head": "linear",
    }


def test_a_vision_transformer_is_told() -> None:
    layers = of_shapes(
        {
            "patch_embed.proj.weight": (8, 3, 4, 4),
            "patch_embed.proj.bias": (8,),
            "blocks.0.norm1.weight": (8,),
            "blocks.0.attn.qkv.weight": (24, 8),
            "blocks.0.attn.proj.weight": (8, 8),
            "blocks.0.mlp.fc1.weight": (32, 8),
            "norm.weight": (8,),
            "head.weight": (10, 8),
        }
    )

    assert kinds(layers) == {
        "patch_embed.proj": "conv",
        "blocks.0.norm1": "norm",
        "blocks.0.attn.qkv": "attention",
        "blocks.0.attn.proj": "attention",
        "blocks.0.mlp.fc1": "linear",
        "norm": "norm",
        "head": "linear",
    }


@pytest.mark.parametrize(
    "name",
    ["pos_embed", "cls_token", "class_token", "mask_token", "encoder.pos_embedding",
     "vit.embeddings.position_embeddings", "absolute_pos_embed"],
)  # fmt: skip
def test_tokens_and_positions_of_vision_transformers_are_embeddings(name: str) -> None:
    assert roles(of_shapes({name: (1, 17, 8)})) == {name: "embedding"}


def test_bert_is_told() -> None:
    layers = of_shapes(
        {
            "bert.embeddings.word_embeddings.weight": (50, 8),
            "bert.embeddings.token_type_embeddings.weight": (2, 8),
            "bert.embeddings.LayerNorm.gamma": (8,),
            "bert.embeddings.LayerNorm.beta": (8,),
            "bert.encoder.layer.0.attention.self.query.weight": (8, 8),
            "bert.encoder.layer.0.attention.self.query.bias": (8,),
            "bert.encoder.layer.0.attention.output.dense.weight": (8, 8),
            "bert.encoder.layer.0.attention.output.LayerNorm.weight": (8,),
            "bert.encoder.layer.0.intermediate.dense.weight": (32, 8),
            "bert.encoder.layer.0.output.dense.weight": (8, 32),
            "bert.pooler.dense.weight": (8, 8),
        }
    )

    assert kinds(layers) == {
        "bert.embeddings.word_embeddings": "embedding",
        "bert.embeddings.token_type_embeddings": "embedding",
        "bert.embeddings.LayerNorm": "norm",
        "bert.encoder.layer.0.attention.self.query": "attention",
        "bert.encoder.layer.0.attention.output.dense": "attention",
        "bert.encoder.layer.0.attention.output.LayerNorm": "norm",
        "bert.encoder.layer.0.intermediate.dense": "linear",
        "bert.encoder.layer.0.output.dense": "linear",
        "bert.pooler.dense": "linear",
    }


def test_adapters_belong_to_what_they_adapt() -> None:
    layers = of_shapes(
        {
            "layers.0.self_attn.q_proj.lora_A.weight": (4, 8),
            "layers.0.self_attn.q_proj.lora_B.default.weight": (8, 4),
            "layers.0.mlp.up_proj.lora_A.weight": (4, 8),
        }
    )

    assert list(kinds(layers).values()) == ["attention", "attention", "linear"]
    assert set(roles(layers).values()) == {"weight"}


@pytest.mark.parametrize(
    "shapes",
    [
        {"conv.weight_orig": (4, 3, 3, 3), "conv.weight_mask": (4, 3, 3, 3), "conv.bias": (4,)},
        {"conv.weight_g": (4, 1, 1, 1), "conv.weight_v": (4, 3, 3, 3), "conv.bias": (4,)},
        {
            "conv.bias": (4,),
            "conv.parametrizations.weight.original0": (4, 1, 1, 1),
            "conv.parametrizations.weight.original1": (4, 3, 3, 3),
        },
    ],
    ids=["pruned", "weight norm", "parametrized weight norm"],
)
def test_a_reparametrized_convolution_stays_one_convolution(shapes: Shapes) -> None:
    assert kinds(of_shapes(shapes)) == {"conv": "conv"}


def test_the_slopes_of_an_activation_are_no_norm() -> None:
    layers = told({f"prelu.{name}": value for name, value in nn.PReLU(8).state_dict().items()})

    assert layers["prelu"].kind is Kind.OTHER


def test_the_shared_table_of_t5_is_an_embedding() -> None:
    assert kinds(of_shapes({"shared.weight": (32128, 8)})) == {"shared": "embedding"}


def test_a_projection_into_an_embedding_is_no_embedding() -> None:
    layers = of_shapes({"embed_fc.weight": (8, 8), "embed_fc.bias": (8,)})

    assert kinds(layers) == {"embed_fc": "linear"}


def test_names_that_say_nothing_are_weights_of_kind_other() -> None:
    layers = of_shapes({"logit_scale": (), "alpha": (8,), "field": (2, 3, 4)})

    assert kinds(layers) == {"logit_scale": "other", "alpha": "other", "field": "other"}
    assert set(roles(layers).values()) == {"weight"}


def test_a_reader_knows_better_than_names() -> None:
    hints = Hints("encoder", Kind.CONV, Role.EMBEDDING, (Axis.KERNEL, Axis.INPUT), ("a", "b"))
    tensor = stored("fc.weight", (4, 4), hints=hints)

    (layer,) = layers_of([tensor])

    assert (layer.name, layer.kind) == ("encoder", Kind.CONV)
    (parameter,) = layer.parameters
    assert (parameter.role, parameter.axes, parameter.sections) == (
        Role.EMBEDDING,
        (Axis.KERNEL, Axis.INPUT),
        ("a", "b"),
    )


def test_hints_whose_axes_do_not_fit_the_shape_are_passed_over() -> None:
    tensor = stored("fc.weight", (4, 4), hints=Hints(axes=(Axis.OUTPUT,)))

    (layer,) = layers_of([tensor])

    assert layer.parameters[0].axes == (Axis.OUTPUT, Axis.INPUT)


def test_unknown_element_types_are_named_and_not_an_error() -> None:
    layers = of_shapes({"fc.weight": (4, 4)}, dtype="float4")

    assert layers["fc"].parameters[0].dtype == "float4"


def test_the_module_of_a_name_is_what_stands_before_the_last_dot() -> None:
    assert module_of("encoder.0.weight") == "encoder.0"
    assert module_of("pos_embed") == "pos_embed"


def test_natural_order_reads_numbers() -> None:
    names = ["epoch_10", "epoch_2", "epoch_1", "epoch", "epoch_02b", "²", "a1.10", "a1.9", ""]

    ordered = sorted(names, key=natural_key)

    assert ordered.index("epoch_2") < ordered.index("epoch_10")
    assert ordered.index("a1.9") < ordered.index("a1.10")
    assert len(ordered) == len(names)


def test_empty_and_scalar_tensors_are_told_without_a_fault() -> None:
    layers = told(
        {"a.weight": torch.empty(0, 3), "b.weight": torch.tensor(1.0), "c": torch.empty(0)}
    )

    assert set(layers) == {"a", "b", "c"}


def test_recurrent_weights_without_columns_are_told_without_a_fault() -> None:
    layers = of_shapes({"rnn.weight_hh_l0": (4, 0), "rnn.weight_ih_l0": (4, 3)})

    assert set(layers) == {"rnn"}


LONG = 30_000
"""Repetitions in names that would take minutes if time grew with the square of their length."""


@pytest.mark.parametrize(
    "name",
    [unit * LONG + end
     for unit in ("1", "_", "a", "_bias", ".a", "norm_", "_attn1", ".embed", "_deconv", "ln_x", "-")
     for end in ("", "-", ".bias-")],
    ids=lambda name: f"{name[:6]}...{name[-7:]}",
)  # fmt: skip
def test_long_names_are_understood_at_once(name: str) -> None:
    beside = ("fc.weight", (8, 4)), ("fc.bias", (8,))
    pairs = [(name, (8, 4)), (f"{name}.bias", (4,)), *beside]
    tensors = [stored(n, shape) for n, shape in pairs]

    names = [p.name for layer in layers_of(tensors) for p in layer.parameters]

    assert sorted(names) == sorted(n for n, _ in pairs)


@pytest.mark.parametrize(
    ("before", "after"),
    [("a2", "a10"), ("9" * 5000, "1" + "0" * 5000), ("a02b", "a3"), ("0", "00001"), ("x", "xy")],
)
def test_numbers_of_any_length_are_ordered_by_value(before: str, after: str) -> None:
    assert natural_key(before) < natural_key(after)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("a.bias", Role.BIAS), ("a.b", Role.BIAS), ("a.bias_ih_l0", Role.BIAS),
        ("a.beta", Role.BIAS), ("a.in_proj_bias", Role.BIAS), ("a.q_bias", Role.BIAS),
        ("a.q_bias_k", Role.BIAS),
        ("a.bias_", Role.WEIGHT), ("a.abias", Role.WEIGHT), ("a.bias-x", Role.WEIGHT),
        ("a.xbias_ih", Role.WEIGHT), ("a.bias_bias_", Role.BIAS),
    ],
)  # fmt: skip
def test_biases_are_told_by_the_last_part_of_a_name(name: str, role: Role) -> None:
    (layer,) = layers_of([stored("a.weight", (4, 4)), stored(name, (4,))])

    assert {p.name: p.role for p in layer.parameters}[name] is role
