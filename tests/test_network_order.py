"""The order of a network from names: blocks by value, embeddings first, the head last."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from accweight_adapters.network_order import in_network_order

NETWORKS = {
    "GPT-2 of another trainer": (
        "wte.weight wpe.weight h.0.ln_1.weight h.0.attn.c_attn.weight h.0.attn.c_attn.bias"
        " h.2.ln_1.weight h.10.ln_1.weight ln_f.weight lm_head.weight"
    ),
    "ResNet": (
        "conv1.weight bn1.weight bn1.bias bn1.running_mean layer1.0.conv1.weight"
        " layer1.0.bn1.weight layer1.0.conv2.weight layer1.0.bn2.weight"
        " layer1.0.downsample.0.weight layer1.10.conv1.weight layer2.0.conv1.weight fc.weight"
        " fc.bias"
    ),
    "VGG": "features.0.weight features.2.weight features.10.weight classifier.0.weight",
    "autoencoder": "encoder.0.weight encoder.2.weight decoder.0.weight decoder.2.weight",
    "translation": (
        "encoder.embed_tokens.weight encoder.layers.0.fc1.weight encoder.layer_norm.weight"
        " decoder.embed_tokens.weight decoder.layers.0.fc1.weight decoder.layer_norm.weight"
        " output_projection.weight"
    ),
    "vision transformer of timm": (
        "cls_token patch_embed.proj.weight patch_embed.proj.bias pos_embed blocks.0.norm1.weight"
        " blocks.0.attn.qkv.weight blocks.0.attn.proj.weight blocks.0.norm2.weight"
        " blocks.0.mlp.fc1.weight blocks.0.mlp.fc2.weight blocks.11.norm1.weight norm.weight"
        " head.weight"
    ),
    "plain network": "fc1.weight fc1.bias fc2.weight fc2.bias fc10.weight head.weight",
    "recurrent": (
        "rnn.weight_ih_l0 rnn.weight_hh_l0 rnn.bias_ih_l0 rnn.bias_hh_l0 rnn.weight_ih_l1"
    ),
    "vision and language": (
        "vision_tower.blocks.0.norm1.weight multi_modal_projector.linear.weight"
        " language_model.model.embed_tokens.weight language_model.model.layers.0.mlp.up_proj.weight"
        " language_model.lm_head.weight"
    ),
    "names that say nothing": "c a.weight a.bias b.1.weight b.2.weight b.10.weight",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tensors_are_in_the_order_of_the_network(name: str) -> None:
    truth = NETWORKS[name].split()
    shuffled = random.Random(1).sample(truth, len(truth))

    found = in_network_order({tensor: tensor for tensor in shuffled})

    assert list(found) == truth


def test_the_tensors_of_a_module_stay_together() -> None:
    names = [f"h.{n}.{part}.{leaf}" for n in range(12) for part in ("attn", "mlp", "x")
             for leaf in ("bias", "weight", "scale")]  # fmt: skip

    found = [name.rpartition(".")[0] for name in in_network_order({n: n for n in names})]

    assert len([1 for a, b in pairwise(found) if a != b]) == 35


@pytest.mark.parametrize(
    "names",
    [
        ["." * 900, ".".join("a" * 400), "embed" * 190 + "_", "1.2.3", "", "a..b", "²", "٣.weight"],
        ["x." + "_" * 60 + "embed", "conv1", "conv1.weight", "bn1.2", "conv.weight", "1", "a1b"],
    ],
)
def test_any_names_have_an_order(names: list[str]) -> None:
    found = in_network_order({name: name for name in names})

    assert sorted(found) == sorted(names)
    assert found == in_network_order({name: name for name in reversed(names)})


@pytest.mark.parametrize("unit", ["1", "a", "_", ".a", ".1", "norm", "conv1", "predictions", "-"])
@pytest.mark.parametrize("end", ["", ".weight", "-"])
def test_long_names_keep_their_natural_order(unit: str, end: str) -> None:
    long = "x" + unit * (100_000 // len(unit)) + end
    names = {name: name for name in (long, "head.weight", "layer.10.w", "layer.2.w", "conv" + long)}

    ordered = in_network_order(names)

    assert sorted(ordered) == sorted(names)
    assert ordered.index("layer.2.w") < ordered.index("layer.10.w")
