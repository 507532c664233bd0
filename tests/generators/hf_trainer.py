"""Writes `tests/data/hf_trainer`: what Hugging Face's Trainer leaves behind, on a tiny model.

transformers takes 130 MB, so its files are kept in the repository instead of written by tests.
To write them anew, in an environment with transformers, accelerate and peft::

    python tests/generators/hf_trainer.py tests/data/hf_trainer
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import huggingface_hub
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

WORDS = 12


class Rows(Dataset):  # type: ignore[type-arg]
    """Rows of words; the first one decides the label."""

    def __init__(self, count: int, seed: int) -> None:
        self.words = torch.randint(0, WORDS, (count, 4), generator=torch.manual_seed(seed))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row, as the model takes it."""
        return {"input_ids": self.words[index], "labels": (self.words[index, 0] > 5).long()}


def model() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=6,
        max_position_embeddings=4,
    )
    return BertForSequenceClassification(config)


def train(net: Any, folder: str, **options: Any) -> Trainer:
    """Train for a few steps, a checkpoint every other one."""
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=8,
        max_steps=6,
        logging_steps=1,
        save_steps=2,
        eval_steps=2,
        eval_strategy="steps",
        optim="sgd",
        learning_rate=0.5,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    trainer = Trainer(
        model=net,
        args=arguments,
        train_dataset=Rows(48, 0),
        eval_dataset=Rows(16, 1),
        compute_metrics=lambda p: {
            "accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())
        },
    )
    trainer.train()
    return trainer


def write(folder: Path) -> None:
    """Write a run of the whole model, one of adapters, and one in shards of torch.save."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)  # the Trainer notes paths as it was given them
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    trainer = train(model(), "full", **best)
    trainer.save_model()
    trainer.save_state()
    adapter = LoraConfig(r=2, target_modules=["query", "dense"], task_type="SEQ_CLS")
    train(get_peft_model(model(), adapter), "lora", save_only_model=True)
    for step in (2, 4):
        source, target = Path(f"full/checkpoint-{step}"), Path(f"sharded/checkpoint-{step}")
        target.mkdir(parents=True)
        huggingface_hub.save_torch_state_dict(
            load_file(source / "model.safetensors"),
            target,
            safe_serialization=False,
            max_shard_size="2KB",
        )
        shutil.copy(source / "trainer_state.json", target)
    for note in Path().rglob("README.md"):
        note.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())
