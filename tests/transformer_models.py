"""Small random models of the real library, and what is true of each, written by hand.

The truth of a model is the order of its layers, which projections share a matrix, how many heads
they have, and which matrices are stored (inputs, outputs). Nothing of it is computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

PLAIN = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
GROUPED = {**PLAIN, "num_key_value_heads": 2, "pad_token_id": 0}
GPT = {"vocab_size": 99, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4}
FALCON = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Model:
    """A kind of model, and what is true of it.

    Attributes:
        name: Class of the model, without its task.
        config: Class of its configuration.
        settings: Arguments of that.
        order: Layers in network order; `#` stands for the number of a block, and a line for what
            is repeated with its blocks.
        splits: Projections and heads by layer of a block: `q4 k2 v2`, with `/` and the number of
            groups where they repeat, and `<` before what lies along the inputs.
        turned: Layers of a block that are stored (inputs, outputs).
        tied: The embedding that the output layer is, if it is not stored.
        blocks: Number of its blocks.
    """

    name: str
    config: str
    settings: Mapping[str, Any]
    order: str
    splits: str
    turned: str = ""
    tied: str = ""
    blocks: int = 2

    def built(self) -> Any:
        """Return the model with random weights."""
        import torch

        torch.manual_seed(0)
        settings = {key: _plain(value) for key, value in self.settings.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = getattr(transformers, self.config)(**settings)
            return getattr(transformers, self.name)(config).eval()

    def layers(self) -> list[str]:
        """Return the layers in order."""
        found = []
        for line in self.order.strip().splitlines():
            names = line.split()
            numbers = range(self.blocks) if "#" in line else range(1)
            found += [name.replace("#", str(number)) for number in numbers for name in names]
        return found


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def each(prefix: str, names: str) -> str:
    """Return some names, each with a prefix."""
    return " ".join(f"{prefix}.{name}" for name in names.split())


def saved(model: Any, folder: Any) -> None:
    """Save a model as its library does, without its bars of progress."""
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)


BERT_BLOCK = (
    "{0}.layer.#.attention.self.query {0}.layer.#.attention.self.key"
    " {0}.layer.#.attention.self.value {0}.layer.#.attention.output.dense"
    " {0}.layer.#.attention.output.LayerNorm {0}.layer.#.intermediate.dense"
    " {0}.layer.#.output.dense {0}.layer.#.output.LayerNorm"
)
BERT_SPLITS = (
    "attention.self.query: q4, attention.self.key: k4, attention.self.value: v4,"
    " attention.output.dense: <o4"
)
BERT_EMBEDDINGS = (
    "{0}.embeddings.word_embeddings {0}.embeddings.position_embeddings"
    " {0}.embeddings.token_type_embeddings {0}.embeddings.LayerNorm"
)
LLAMA_BLOCK = (
    "model.layers.#.input_layernorm model.layers.#.self_attn.q_proj"
    " model.layers.#.self_attn.k_proj model.layers.#.self_attn.v_proj"
    " model.layers.#.self_attn.o_proj model.layers.#.post_attention_layernorm"
    " model.layers.#.mlp.gate_proj model.layers.#.mlp.up_proj model.layers.#.mlp.down_proj"
)
LLAMA = f"model.embed_tokens\n{LLAMA_BLOCK}\nmodel.norm"
LLAMA_SPLITS = (
    "self_attn.q_proj: q4, self_attn.k_proj: k2, self_attn.v_proj: v2, self_attn.o_proj: <o4"
)
NORMED_BLOCK = LLAMA_BLOCK.replace(
    " model.layers.#.self_attn.o_proj",
    " model.layers.#.self_attn.q_norm model.layers.#.self_attn.k_norm"
    " model.layers.#.self_attn.o_proj",
)
GPT_BLOCK = (
    "transformer.h.#.ln_1 transformer.h.#.attn.c_attn transformer.h.#.attn.c_proj"
    " transformer.h.#.ln_2 transformer.h.#.mlp.c_fc transformer.h.#.mlp.c_proj"
)
FALCON_BLOCK = (
    "transformer.h.#.input_layernorm transformer.h.#.self_attention.query_key_value"
    " transformer.h.#.self_attention.dense transformer.h.#.mlp.dense_h_to_4h"
    " transformer.h.#.mlp.dense_4h_to_h"
)
FALCON_ORDER = f"transformer.word_embeddings\n{FALCON_BLOCK}\ntransformer.ln_f"
BART_HALF = (
    "model.{0}.layers.#.self_attn.q_proj model.{0}.layers.#.self_attn.k_proj"
    " model.{0}.layers.#.self_attn.v_proj model.{0}.layers.#.self_attn.out_proj"
    " model.{0}.layers.#.self_attn_layer_norm"
)
BART_CROSS = (
    " model.decoder.layers.#.encoder_attn.q_proj model.decoder.layers.#.encoder_attn.k_proj"
    " model.decoder.layers.#.encoder_attn.v_proj model.decoder.layers.#.encoder_attn.out_proj"
    " model.decoder.layers.#.encoder_attn_layer_norm"
)
BART_END = " model.{0}.layers.#.fc1 model.{0}.layers.#.fc2 model.{0}.layers.#.final_layer_norm"
BART_ENCODER = BART_HALF.format("encoder") + BART_END.format("encoder")
BART_DECODER = BART_HALF.format("decoder") + BART_CROSS + BART_END.format("decoder")
CLIP_BLOCK = (
    "{0}.encoder.layers.#.layer_norm1 {0}.encoder.layers.#.self_attn.q_proj"
    " {0}.encoder.layers.#.self_attn.k_proj {0}.encoder.layers.#.self_attn.v_proj"
    " {0}.encoder.layers.#.self_attn.out_proj {0}.encoder.layers.#.layer_norm2"
    " {0}.encoder.layers.#.mlp.fc1 {0}.encoder.layers.#.mlp.fc2"
)
T5_SELF = (
    "{0}.block.#.layer.0.layer_norm {0}.block.#.layer.0.SelfAttention.q"
    " {0}.block.#.layer.0.SelfAttention.k {0}.block.#.layer.0.SelfAttention.v"
    " {0}.block.#.layer.0.SelfAttention.relative_attention_bias"
    " {0}.block.#.layer.0.SelfAttention.o"
)
T5_CROSS = (
    " decoder.block.#.layer.1.layer_norm decoder.block.#.layer.1.EncDecAttention.q"
    " decoder.block.#.layer.1.EncDecAttention.k decoder.block.#.layer.1.EncDecAttention.v"
    " decoder.block.#.layer.1.EncDecAttention.o"
)
T5_MLP = (
    " {0}.block.#.layer.{1}.layer_norm {0}.block.#.layer.{1}.DenseReluDense.wi"
    " {0}.block.#.layer.{1}.DenseReluDense.wo"
)

MODELS: dict[str, Model] = {
    "BERT": Model(
        "BertForMaskedLM", "BertConfig", PLAIN,
        f"{BERT_EMBEDDINGS.format('bert')}\n{BERT_BLOCK.format('bert.encoder')}\n"
        "cls.predictions cls.predictions.transform.dense cls.predictions.transform.LayerNorm",
        BERT_SPLITS, tied="bert.embeddings.word_embeddings.weight",
    ),
    "RoBERTa": Model(
        "RobertaForMaskedLM", "RobertaConfig", PLAIN,
        f"{BERT_EMBEDDINGS.format('roberta')}\n{BERT_BLOCK.format('roberta.encoder')}\n"
        "lm_head lm_head.dense lm_head.layer_norm",
        BERT_SPLITS, tied="roberta.embeddings.word_embeddings.weight",
    ),
    "XLM-RoBERTa": Model(
        "XLMRobertaForSequenceClassification", "XLMRobertaConfig", PLAIN,
        f"{BERT_EMBEDDINGS.format('roberta')}\n{BERT_BLOCK.format('roberta.encoder')}\n"
        "classifier.dense classifier.out_proj",
        BERT_SPLITS,
    ),
    "DistilBERT": Model(
        "DistilBertForMaskedLM", "DistilBertConfig",
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
         "max_position_embeddings": 40},
        "distilbert.embeddings.word_embeddings distilbert.embeddings.position_embeddings"
        " distilbert.embeddings.LayerNorm\n"
        "distilbert.transformer.layer.#.attention.q_lin"
        " distilbert.transformer.layer.#.attention.k_lin"
        " distilbert.transformer.layer.#.attention.v_lin"
        " distilbert.transformer.layer.#.attention.out_lin"
        " distilbert.transformer.layer.#.sa_layer_norm distilbert.transformer.layer.#.ffn.lin1"
        " distilbert.transformer.layer.#.ffn.lin2"
        " distilbert.transformer.layer.#.output_layer_norm\n"
        "vocab_transform vocab_layer_norm vocab_projector",
        "attention.q_lin: q4, attention.k_lin: k4, attention.v_lin: v4, attention.out_lin: <o4",
        tied="distilbert.embeddings.word_embeddings.weight",
    ),
    "MPNet": Model(
        "MPNetModel", "MPNetConfig", PLAIN,
        "embeddings.word_embeddings embeddings.position_embeddings embeddings.LayerNorm"
        " encoder.relative_attention_bias\n"
        "encoder.layer.#.attention.attn.q encoder.layer.#.attention.attn.k"
        " encoder.layer.#.attention.attn.v encoder.layer.#.attention.attn.o"
        " encoder.layer.#.attention.LayerNorm encoder.layer.#.intermediate.dense"
        " encoder.layer.#.output.dense encoder.layer.#.output.LayerNorm\n"
        "pooler.dense",
        "attention.attn.q: q4, attention.attn.k: k4, attention.attn.v: v4, attention.attn.o: <o4",
    ),
    "ALBERT": Model(
        "AlbertForMaskedLM", "AlbertConfig", {**PLAIN, "embedding_size": 16},
        f"{BERT_EMBEDDINGS.format('albert')} albert.encoder.embedding_hidden_mapping_in\n"
        + each(
            "albert.encoder.albert_layer_groups.#.albert_layers.0",
            "attention.query attention.key attention.value attention.dense"
            " attention.LayerNorm ffn ffn_output full_layer_layer_norm",
        )
        + "\npredictions predictions.dense predictions.LayerNorm",
        "attention.query: q4, attention.key: k4, attention.value: v4, attention.dense: <o4",
        tied="albert.embeddings.word_embeddings.weight", blocks=1,
    ),
    "ELECTRA": Model(
        "ElectraForPreTraining", "ElectraConfig", {**PLAIN, "embedding_size": 16},
        f"{BERT_EMBEDDINGS.format('electra')} electra.embeddings_project\n"
        f"{BERT_BLOCK.format('electra.encoder')}\n"
        "discriminator_predictions.dense discriminator_predictions.dense_prediction",
        BERT_SPLITS,
    ),
    "DeBERTa-v2": Model(
        "DebertaV2Model", "DebertaV2Config", PLAIN,
        "embeddings.word_embeddings embeddings.position_embeddings embeddings.LayerNorm\n"
        + BERT_BLOCK.format("encoder").replace("query", "query_proj").replace("key", "key_proj")
        .replace("value", "value_proj"),
        "attention.self.query_proj: q4, attention.self.key_proj: k4,"
        " attention.self.value_proj: v4, attention.output.dense: <o4",
    ),
    "ModernBERT": Model(
        "ModernBertForMaskedLM", "ModernBertConfig",
        {**PLAIN, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
        "model.embeddings.tok_embeddings model.embeddings.norm\n"
        "model.layers.0.attn.Wqkv model.layers.0.attn.Wo model.layers.0.mlp_norm"
        " model.layers.0.mlp.Wi model.layers.0.mlp.Wo\n"
        "model.layers.1.attn_norm model.layers.1.attn.Wqkv model.layers.1.attn.Wo"
        " model.layers.1.mlp_norm model.layers.1.mlp.Wi model.layers.1.mlp.Wo\n"
        "model.final_norm head.dense head.norm decoder",
        "attn.Wqkv: q4 k4 v4, attn.Wo: <o4, mlp.Wi: input gate",
        tied="model.embeddings.tok_embeddings.weight",
    ),
    "GPT-2": Model(
        "GPT2LMHeadModel", "GPT2Config", GPT,
        f"transformer.wte transformer.wpe\n{GPT_BLOCK}\ntransformer.ln_f",
        "attn.c_attn: q4 k4 v4, attn.c_proj: <o4",
        turned="attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj", tied="transformer.wte.weight",
    ),
    "StarCoder (GPT-BigCode)": Model(
        "GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT,
        f"transformer.wte transformer.wpe\n{GPT_BLOCK}\ntransformer.ln_f",
        "attn.c_attn: q4 k1 v1, attn.c_proj: <o4", tied="transformer.wte.weight",
    ),
    "Pythia (GPT-NeoX)": Model(
        "GPTNeoXForCausalLM", "GPTNeoXConfig", PLAIN,
        "gpt_neox.embed_in\n"
        "gpt_neox.layers.#.input_layernorm gpt_neox.layers.#.attention.query_key_value"
        " gpt_neox.layers.#.attention.dense gpt_neox.layers.#.post_attention_layernorm"
        " gpt_neox.layers.#.mlp.dense_h_to_4h gpt_neox.layers.#.mlp.dense_4h_to_h\n"
        "gpt_neox.final_layer_norm embed_out",
        "attention.query_key_value: q1 k1 v1 /4, attention.dense: <o4",
    ),
    "CodeGen": Model(
        "CodeGenForCausalLM", "CodeGenConfig", {**GPT, "rotary_dim": 4},
        "transformer.wte\n"
        "transformer.h.#.ln_1 transformer.h.#.attn.qkv_proj transformer.h.#.attn.out_proj"
        " transformer.h.#.mlp.fc_in transformer.h.#.mlp.fc_out\n"
        "transformer.ln_f lm_head",
        "attn.qkv_proj: q1 v1 k1 /4, attn.out_proj: <o4",
    ),
    "OPT": Model(
        "OPTForCausalLM", "OPTConfig",
        {"vocab_size": 99, "hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2,
         "num_attention_heads": 4, "ffn_dim": 48, "max_position_embeddings": 40},
        f"model.decoder.embed_tokens model.decoder.embed_positions\n"
        f"{BART_HALF.format('decoder')}{BART_END.format('decoder')}\n"
        "model.decoder.final_layer_norm",
        "self_attn.q_proj: q4, self_attn.k_proj: k4, self_attn.v_proj: v4,"
        " self_attn.out_proj: <o4",
        tied="model.decoder.embed_tokens.weight",
    ),
    "LLaMA": Model(
        "LlamaForCausalLM", "LlamaConfig", GROUPED, f"{LLAMA} lm_head", LLAMA_SPLITS,
    ),
    "Mistral": Model(
        "MistralForCausalLM", "MistralConfig", GROUPED, f"{LLAMA} lm_head", LLAMA_SPLITS,
    ),
    "Mixtral": Model(
        "MixtralForCausalLM", "MixtralConfig", {**GROUPED, "num_local_experts": 2},
        "model.embed_tokens\n"
        + LLAMA_BLOCK.partition(" model.layers.#.mlp")[0]
        + " model.layers.#.block_sparse_moe.gate"
        + "".join(
            f" model.layers.#.block_sparse_moe.experts.{expert}.{layer}"
            for expert in (0, 1) for layer in ("w1", "w3", "w2")
        )
        + "\nmodel.norm lm_head",
        LLAMA_SPLITS,
    ),
    "Qwen2": Model(
        "Qwen2ForCausalLM", "Qwen2Config", {**GROUPED, "tie_word_embeddings": True},
        LLAMA, LLAMA_SPLITS, tied="model.embed_tokens.weight",
    ),
    "Qwen3": Model(
        "Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 16},
        f"model.embed_tokens\n{NORMED_BLOCK}\nmodel.norm lm_head", LLAMA_SPLITS,
    ),
    "Gemma": Model(
        "GemmaForCausalLM", "GemmaConfig", {**GROUPED, "head_dim": 16},
        LLAMA, LLAMA_SPLITS, tied="model.embed_tokens.weight",
    ),
    "Gemma 2": Model(
        "Gemma2ForCausalLM", "Gemma2Config", {**GROUPED, "head_dim": 16},
        LLAMA.replace(
            "post_attention_layernorm",
            "post_attention_layernorm model.layers.#.pre_feedforward_layernorm",
        ).replace(
            "mlp.down_proj", "mlp.down_proj model.layers.#.post_feedforward_layernorm"
        ),
        LLAMA_SPLITS, tied="model.embed_tokens.weight",
    ),
    "Phi-2": Model(
        "PhiForCausalLM", "PhiConfig", PLAIN,
        "model.embed_tokens\n"
        "model.layers.#.input_layernorm model.layers.#.self_attn.q_proj"
        " model.layers.#.self_attn.k_proj model.layers.#.self_attn.v_proj"
        " model.layers.#.self_attn.dense model.layers.#.mlp.fc1 model.layers.#.mlp.fc2\n"
        "model.final_layernorm lm_head",
        "self_attn.q_proj: q4, self_attn.k_proj: k4, self_attn.v_proj: v4, self_attn.dense: <o4",
    ),
    "Phi-3": Model(
        "Phi3ForCausalLM", "Phi3Config", GROUPED,
        "model.embed_tokens\n"
        "model.layers.#.input_layernorm model.layers.#.self_attn.qkv_proj"
        " model.layers.#.self_attn.o_proj model.layers.#.post_attention_layernorm"
        " model.layers.#.mlp.gate_up_proj model.layers.#.mlp.down_proj\n"
        "model.norm lm_head",
        "self_attn.qkv_proj: q4 k2 v2, self_attn.o_proj: <o4, mlp.gate_up_proj: gate up",
    ),
    "Falcon 7B": Model(
        "FalconForCausalLM", "FalconConfig", FALCON, FALCON_ORDER,
        "self_attention.query_key_value: q4 k1 v1, self_attention.dense: <o4",
        tied="transformer.word_embeddings.weight",
    ),
    "Falcon 40B": Model(
        "FalconForCausalLM", "FalconConfig",
        {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True},
        FALCON_ORDER.replace("input_layernorm", "ln_attn transformer.h.#.ln_mlp"),
        "self_attention.query_key_value: q2 k1 v1 /2, self_attention.dense: <o4",
        tied="transformer.word_embeddings.weight",
    ),
    "Falcon RW": Model(
        "FalconForCausalLM", "FalconConfig",
        {**FALCON, "multi_query": False, "alibi": True, "bias": True, "parallel_attn": False},
        FALCON_ORDER.replace(
            "self_attention.dense", "self_attention.dense transformer.h.#.post_attention_layernorm"
        ),
        "self_attention.query_key_value: q1 k1 v1 /4, self_attention.dense: <o4",
        tied="transformer.word_embeddings.weight",
    ),
    "BLOOM": Model(
        "BloomForCausalLM", "BloomConfig",
        {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        "transformer.word_embeddings transformer.word_embeddings_layernorm\n"
        + FALCON_BLOCK.replace(
            "self_attention.dense", "self_attention.dense transformer.h.#.post_attention_layernorm"
        )
        + "\ntransformer.ln_f",
        "self_attention.query_key_value: q1 k1 v1 /4, self_attention.dense: <o4",
        tied="transformer.word_embeddings.weight",
    ),
    "MPT": Model(
        "MptForCausalLM", "MptConfig",
        {"vocab_size": 99, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 40},
        "transformer.wte\n"
        "transformer.blocks.#.norm_1 transformer.blocks.#.attn.Wqkv"
        " transformer.blocks.#.attn.out_proj transformer.blocks.#.norm_2"
        " transformer.blocks.#.ffn.up_proj transformer.blocks.#.ffn.down_proj\n"
        "transformer.norm_f",
        "attn.Wqkv: q4 k4 v4, attn.out_proj: <o4", tied="transformer.wte.weight",
    ),
    "OLMo 2": Model(
        "Olmo2ForCausalLM", "Olmo2Config", GROUPED,
        "model.embed_tokens\n"
        + NORMED_BLOCK.replace("model.layers.#.input_layernorm ", "")
        + " model.layers.#.post_feedforward_layernorm\nmodel.norm lm_head",
        LLAMA_SPLITS,
    ),
    "T5": Model(
        "T5ForConditionalGeneration", "T5Config",
        {"vocab_size": 99, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1,
         "num_heads": 4},
        "shared\n"
        f"{T5_SELF.format('encoder')}{T5_MLP.format('encoder', 1)}\nencoder.final_layer_norm\n"
        f"{T5_SELF.format('decoder')}{T5_CROSS}{T5_MLP.format('decoder', 2)}\n"
        "decoder.final_layer_norm",
        "layer.0.SelfAttention.q: q4, layer.0.SelfAttention.k: k4, layer.0.SelfAttention.v: v4,"
        " layer.0.SelfAttention.o: <o4, layer.1.EncDecAttention.q: q4,"
        " layer.1.EncDecAttention.k: k4, layer.1.EncDecAttention.v: v4,"
        " layer.1.EncDecAttention.o: <o4",
        tied="shared.weight", blocks=1,
    ),
    "BART": Model(
        "BartForConditionalGeneration", "BartConfig",
        {"vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
         "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
         "decoder_ffn_dim": 48, "max_position_embeddings": 40},
        "model.shared model.encoder.embed_positions model.encoder.layernorm_embedding\n"
        f"{BART_ENCODER}\n"
        "model.decoder.embed_positions model.decoder.layernorm_embedding\n"
        f"{BART_DECODER}\nfinal_logits_bias",
        "self_attn.q_proj: q4, self_attn.k_proj: k4, self_attn.v_proj: v4,"
        " self_attn.out_proj: <o4, encoder_attn.q_proj: q4, encoder_attn.k_proj: k4,"
        " encoder_attn.v_proj: v4, encoder_attn.out_proj: <o4",
        tied="model.shared.weight",
    ),
    "ViT": Model(
        "ViTForImageClassification", "ViTConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "image_size": 16, "patch_size": 8},
        "vit.embeddings vit.embeddings.patch_embeddings.projection\n"
        + each(
            "vit.encoder.layer.#",
            "layernorm_before attention.attention.query attention.attention.key"
            " attention.attention.value attention.output.dense layernorm_after"
            " intermediate.dense output.dense",
        )
        + "\nvit.layernorm classifier",
        "attention.attention.query: q4, attention.attention.key: k4,"
        " attention.attention.value: v4, attention.output.dense: <o4",
    ),
    "CLIP": Model(
        "CLIPModel", "CLIPConfig",
        {"projection_dim": 16, "text_config": {**PLAIN, "projection_dim": 16},
         "vision_config": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                           "intermediate_size": 64, "image_size": 16, "patch_size": 8,
                           "projection_dim": 16}},
        "text_model.embeddings.token_embedding text_model.embeddings.position_embedding\n"
        f"{CLIP_BLOCK.format('text_model')}\ntext_model.final_layer_norm\n"
        "vision_model.embeddings vision_model.embeddings.patch_embedding"
        " vision_model.embeddings.position_embedding vision_model.pre_layrnorm\n"
        f"{CLIP_BLOCK.format('vision_model')}\nvision_model.post_layernorm\n"
        "text_projection visual_projection logit_scale",
        "self_attn.q_proj: q4, self_attn.k_proj: k4, self_attn.v_proj: v4,"
        " self_attn.out_proj: <o4",
    ),
    "Whisper": Model(
        "WhisperForConditionalGeneration", "WhisperConfig",
        {"vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
         "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
         "decoder_ffn_dim": 48, "num_mel_bins": 8, "max_source_positions": 20,
         "max_target_positions": 20, **SPECIAL, "decoder_start_token_id": 1,
         "suppress_tokens": None, "begin_suppress_tokens": None},
        "model.encoder.conv1 model.encoder.conv2 model.encoder.embed_positions\n"
        f"{BART_ENCODER}\nmodel.encoder.layer_norm\n"
        "model.decoder.embed_tokens model.decoder.embed_positions\n"
        f"{BART_DECODER}\nmodel.decoder.layer_norm",
        "self_attn.q_proj: q4, self_attn.k_proj: k4, self_attn.v_proj: v4,"
        " self_attn.out_proj: <o4, encoder_attn.q_proj: q4, encoder_attn.k_proj: k4,"
        " encoder_attn.v_proj: v4, encoder_attn.out_proj: <o4",
        tied="model.decoder.embed_tokens.weight",
    ),
    "Wav2Vec2": Model(
        "Wav2Vec2ForCTC", "Wav2Vec2Config",
        {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "conv_dim": (16,), "conv_stride": (5,), "conv_kernel": (10,),
         "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
        "wav2vec2 wav2vec2.feature_extractor.conv_layers.0.conv"
        " wav2vec2.feature_extractor.conv_layers.0.layer_norm"
        " wav2vec2.feature_projection.layer_norm wav2vec2.feature_projection.projection"
        " wav2vec2.encoder.pos_conv_embed.conv\n"
        + each(
            "wav2vec2.encoder.layers.#",
            "attention.q_proj attention.k_proj attention.v_proj"
            " attention.out_proj layer_norm feed_forward.intermediate_dense"
            " feed_forward.output_dense final_layer_norm",
        )
        + "\nwav2vec2.encoder.layer_norm lm_head",
        "attention.q_proj: q4, attention.k_proj: k4, attention.v_proj: v4,"
        " attention.out_proj: <o4",
    ),
}  # fmt: skip
