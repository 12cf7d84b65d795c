"""Tokenizer and text encoder: trains the sentencepiece model, pre-trains T5 on naming attributes."""

from __future__ import annotations

import io
import json
import random
import time
from pathlib import Path

import sentencepiece
import torch
from torch import nn

import models
import world
from common import Muon, load, log, save, schedule

ATTRIBUTES = {
    "shape": world.SHAPES, "color": tuple(world.FOREGROUNDS), "background": tuple(world.BACKGROUNDS),
    "motion": world.MOTIONS, "size": tuple(world.SIZES),
}


def attribute_labels(cells: list[world.Cell]) -> dict[str, torch.Tensor]:
    return {k: torch.tensor([names.index(getattr(c, k)) for c in cells])
            for k, names in ATTRIBUTES.items()}


def train_tokenizer(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    corpus = (world.caption(world.sample_cell(rng), rng) for _ in range(20000))
    # Through memory: a file name given to the trainer would be stored in the model.
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus, model_writer=model, model_type="unigram",
        vocab_size=models.VOCABULARY, normalization_rule_name="nmt_nfkc",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>",
        unk_piece="<unk>", hard_vocab_limit=False, minloglevel=2,
        user_defined_symbols=list("!?-:;()/'\"") + list("0123456789"),
        required_chars="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,")
    (folder / "spiece.model").write_bytes(model.getvalue())
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = {**special, "tokenizer_class": "T5Tokenizer", "extra_ids": 0,
              "additional_special_tokens": [], "model_max_length": 512,
              "clean_up_tokenization_spaces": False, "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


class Tokenizer:
    """Captions -> ids and mask; the same ids as the T5 tokenizer of transformers gives."""

    def __init__(self, folder: Path):
        self.model = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))

    def __call__(self, texts: list[str], length: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [self.model.encode(t.strip())[:models.MAX_TEXT_TOKENS - 1] + [1] for t in texts]
        width = max(length, max(map(len, rows)))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, :len(row)] = torch.tensor(row)
            mask[i, :len(row)] = 1
        return ids, mask


class NamingHeads(nn.Module):
    """One attention-pooled classifier per attribute, only used for pre-training."""

    def __init__(self):
        super().__init__()
        self.query = nn.ModuleDict({k: nn.Linear(models.TEXT_WIDTH, 1) for k in ATTRIBUTES})
        self.head = nn.ModuleDict({k: nn.Linear(models.TEXT_WIDTH, len(v)) for k, v in ATTRIBUTES.items()})

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        out = {}
        for k in ATTRIBUTES:
            w = self.query[k](states).masked_fill(mask[..., None] == 0, -1e4).softmax(1)
            out[k] = self.head[k]((w * states).sum(1))
        return out


def train(work: Path, seconds: float, seed: int) -> None:
    torch.manual_seed(seed)
    tokenizer_folder = work / "tokenizer"
    if not (tokenizer_folder / "spiece.model").exists():
        train_tokenizer(tokenizer_folder, seed)
    tokenizer = Tokenizer(tokenizer_folder)
    log(f"{tokenizer.model.get_piece_size()} pieces")
    model, heads = models.make_text_encoder(), NamingHeads()
    params = [(f"t5.{n}", p) for n, p in model.named_parameters()]
    params += [(f"heads.{n}", p) for n, p in heads.named_parameters()]
    optimizer = Muon([dict(params=params, lr=1e-3, muon=0)])
    rng = random.Random(seed)
    start, step = time.time(), 0

    def run(held_out: bool, count: int):
        cells = [world.sample_cell(rng, held_out) for _ in range(count)]
        ids, mask = tokenizer([world.caption(c, rng) for c in cells])
        if rng.random() < 0.15:  # some callers pass no mask: padding is then visible
            ids, mask = torch.nn.functional.pad(ids, (0, rng.randrange(1, 40))), None
        states = model(ids, attention_mask=mask).last_hidden_state
        return heads(states, torch.ones_like(ids) if mask is None else mask), attribute_labels(cells)

    while (done := (time.time() - start) / seconds) < 1:
        logits, labels = run(False, 64)
        loss = sum(nn.functional.cross_entropy(logits[k], labels[k]) for k in ATTRIBUTES)
        for _, p in params:
            p.grad = None
        loss.backward()
        optimizer.step(schedule(done))
        step += 1
        if step % 100 == 0:
            log(f"text step {step} loss {loss.item():.4f}")
    with torch.no_grad():
        logits, labels = run(True, 500)
        scores = {k: round((logits[k].argmax(1) == labels[k]).float().mean().item(), 3) for k in ATTRIBUTES}
    log(f"text held-out accuracy {scores}")
    save(work / "text.pt", {"model": model.state_dict(), "scores": scores})


def load_text_encoder(work: Path):
    model = models.make_text_encoder()
    state = load(work / "text.pt")
    if state:
        model.load_state_dict(state["model"])
    return model
