"""Read ``config.json``, which Hugging Face writes beside the weights of a model.

It has the kind of model, the widths, and the numbers of attention heads, under names that differ
from model to model. The file is read as data, whatever is in it: only whole numbers, words and
switches of a few keys are taken.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from accweight_adapters.hf_trainer_state import MODEL_FILE
from accweight_adapters.untrusted import quoted
from accweight_core.remote import is_url

CONFIG_FILE: Final = "config.json"
MAX_CONFIG_BYTES: Final = 4_000_000
MOST: Final = 1 << 24
"""Limit of widths and counts; the largest real ones are a hundred times smaller."""

MODEL_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
STEP_FOLDER = re.compile(r"\d")

WIDTHS: Final = ("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "n_embed", "model_dim")
HEADS: Final = ("num_attention_heads", "n_head", "num_heads", "n_heads", "num_attn_heads")
KEY_HEADS: Final = (
    "num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads", "multi_query_group_num",
)  # fmt: skip
HEAD_WIDTHS: Final = ("head_dim", "d_kv", "attention_head_dim", "attention_head_size")

INNER: Final = (
    (re.compile(r"(^|[._])(vision|visual|image)"), ("vision_config",)),
    (re.compile(r"(^|[._])(audio|speech)"), ("audio_config",)),
    (re.compile(r"(^|[._])qformer"), ("qformer_config",)),
    (re.compile(r"^(question_encoder|ctx_encoder|encoder)\."), ("encoder",)),
    (re.compile(r"^(generator|decoder)\."), ("decoder", "generator")),
    (re.compile(r""), ("text_config", "llm_config", "language_config")),
)
"""Parts of models with a configuration of their own: where their tensors lie, and its key."""

SIDE = re.compile(r"(^|\.)(encoder|decoder)\.")


@dataclass(frozen=True)
class Heads:
    """The attention of one part of a model.

    Attributes:
        width: Width of the network there.
        heads: Heads of the queries.
        key_heads: Heads of keys and of values; fewer where queries share them.
        head_width: Outputs per head.
    """

    width: int
    heads: int
    key_heads: int
    head_width: int


@dataclass(frozen=True)
class ModelConfig:
    """A configuration of a model.

    Attributes:
        model_type: Kind of model ("gpt2").
        entries: All its entries.
        place: Where it was found, for messages: `config.json`, or that of the folder above.
    """

    model_type: str
    entries: Mapping[str, Any]
    place: str = CONFIG_FILE

    @property
    def origin(self) -> str:
        """The configuration in words, as `inspect` shows it."""
        return f"{self.place}: {self.model_type}"

    def part_of(self, name: str) -> Mapping[str, Any]:
        """Return the entries for the part of the model that a tensor lies in."""
        for pattern, keys in INNER:
            for key in keys if pattern.search(name) else ():
                inner = self.entries.get(key)
                if isinstance(inner, dict) and inner:
                    return inner
        return self.entries

    def heads_at(self, name: str) -> Heads | None:
        """Return the attention of the part of the model that a tensor lies in, if it is known."""
        entries = self.part_of(name)
        side = SIDE.search(name)
        own = (f"{side[2]}_attention_heads",) if side else ()
        heads = count_in(entries, *own, *HEADS, "encoder_attention_heads")
        width = count_in(entries, *WIDTHS)
        if heads is None or width is None:
            return None
        head_width = count_in(entries, *HEAD_WIDTHS, "kv_channels")
        return Heads(
            width, heads, self._key_heads(entries) or heads, head_width or max(width // heads, 1)
        )

    def _key_heads(self, entries: Mapping[str, Any]) -> int | None:
        inner = entries.get("attn_config")
        found = count_in(entries, *KEY_HEADS)
        if found is None and isinstance(inner, dict):
            found = count_in(inner, *KEY_HEADS)
        return found

    def is_on(self, key: str, *, default: bool = False) -> bool:
        """Tell whether a switch is on."""
        value = self.entries.get(key)
        return value if isinstance(value, bool) else default


def count_in(entries: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of some entries that is a count, None if there is none."""
    for key in keys:
        value = entries.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST:
            return value
    return None


def config_beside(path: Path) -> tuple[ModelConfig | None, str]:
    """Return the configuration of the checkpoint in a file, and a remark if it is damaged.

    It lies beside the file, or above a folder like ``checkpoint-500``.
    """
    if is_url(str(path)) and not MODEL_FILE.fullmatch(path.name):
        return None, ""
    folders = [(path.parent, CONFIG_FILE)]
    if STEP_FOLDER.search(path.parent.name):
        folders.append((path.parent.parent, f"../{CONFIG_FILE}"))
    for folder, place in folders:
        file = folder / CONFIG_FILE
        if file.is_file():
            return _read(file, place)
    return None, ""


def _read(file: Path, place: str) -> tuple[ModelConfig | None, str]:
    try:
        with file.open("rb") as stream:
            size_bytes = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if size_bytes > MAX_CONFIG_BYTES:
                return None, f"{place} is not read: it has more than {MAX_CONFIG_BYTES} bytes"
            entries = json.loads(stream.read(size_bytes))
    except (OSError, ValueError, RecursionError):
        return None, f"{place} is damaged; heads and fused projections are not known from it"
    if not isinstance(entries, dict) or "model_type" not in entries:
        return None, ""  # the configuration of something else
    model_type = entries["model_type"]
    if not isinstance(model_type, str) or not MODEL_TYPE.fullmatch(model_type):
        return None, f"{place} is not used: it names a model_type {quoted(model_type)}"
    return ModelConfig(model_type, entries, place), ""
