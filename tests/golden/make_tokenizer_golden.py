"""Makes tests/golden/tokenizer: a tiny T5 vocabulary and what `transformers` makes of many prompts.

Usage: python make_tokenizer_golden.py   (versions and the date of the last run: SOURCES.md)
"""
import io
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece
from transformers import T5Tokenizer

SEED = 20260
WORDS = ("a the small red blue old wooden boat robot dog fox city river forest light camera pans slowly quickly rises falls "
         "over under through near water sky snow rain morning evening quality inconsistent motion blurry jittery 1 2 3 4 24").split()
PROMPTS = [
    "", " ", "a red fox", "A small wooden boat, near the river.", "  The   camera \t pans\nleft  ", "\u00a0\u3000fox\u2028\u2029",
    "\x1c\x1d\x1e\x1ffox\x1f\x85", "fox\x85boat", "\u1680fox\u205f\u202f", "a\u200bfox \ufeffboat", "UPPER lower MiXeD",
    "\uff37alking \ufb01sh, na\u00efve caf\u00e9 \u2014 \u00bd \u2026", "cafe\u0301 e\u0301 A\u030a", "\u2460 \u338f \u2177 \uff76\uff9e",
    "A \U0001f98a\U0001f98a runs \u4eca\u65e5", "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd", "\u0645\u0631\u062d\u0628\u0627 \u202e fox",
    "</s>", "<pad>", "<unk>", "</s> literal", "fox</s>boat", "fox </s> boat", "</s></s>", " <pad> fox", "fox<unk>boat", "< /s>", "</ s>", "</S>",
    "<s>", "</s", "<extra_id_0>", "<extra_id_4>", "<extra_id_5>", "<extra_id_99>", "<extra_id_100>", "<extra_id_1", "<extra_id_1>0>",
    "<extra_id_01>", "fox<extra_id_1>boat <extra_id_2> river", "<<extra_id_3>>", "<extra_id_1><extra_id_2>", "\t<extra_id_1>\n", "<<<>>>",
    "worst quality, inconsistent motion, blurry, jittery, distorted", "\u2581fox", "a_b-c/d\\e|f~g`h^i", "(word:1.2) [x] {y}", "3.14 1,000 50%",
    "the fox " * 60,
]


def train(r):
    lines = [" ".join(r.choice(WORDS) for _ in range(r.randint(3, 12))) + r.choice([".", ",", "", "!"]) for _ in range(600)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=180, model_type="unigram", normalization_rule_name="nmt_nfkc",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>", hard_vocab_limit=False,
        num_threads=1, minloglevel=2)
    return model.getvalue()


def configs(piece_count):
    def extra(n):
        return [f"<extra_id_{i}>" for i in range(n)]
    base = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    token = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    decoder = {str(i): {"content": c, **token} for i, c in enumerate(("<pad>", "</s>", "<unk>"))}
    decoder |= {str(piece_count + 99 - n): {"content": f"<extra_id_{n}>", **token, "lstrip": True, "rstrip": True} for n in range(100)}
    return {"none": None,
            "five": {**base, "extra_ids": 5, "additional_special_tokens": extra(5)},
            "decoder": {**base, "extra_ids": 100, "additional_special_tokens": extra(100), "added_tokens_decoder": decoder}}


def main():
    r = random.Random(SEED)
    out = Path(__file__).parent / "tokenizer"
    out.mkdir(exist_ok=True)
    model = train(r)
    (out / "spiece.model").write_bytes(model)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    glue = [p for p in PROMPTS if p and len(p) < 20]
    prompts = PROMPTS + [r.choice(["", " ", "  "]).join(r.choice(glue) for _ in range(r.randint(2, 5))) for _ in range(60)]
    cases = []
    all_configs = configs(pieces)
    for name, config in all_configs.items():
        folder = Path(tempfile.mkdtemp())
        (folder / "spiece.model").write_bytes(model)
        if config is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = T5Tokenizer.from_pretrained(str(folder))
        for prompt in prompts:
            whole = tokenizer(prompt.strip())["input_ids"]
            for length in ((128, 7, 1) if prompt in PROMPTS and name == "none" else (128,)):
                got = tokenizer(prompt.strip(), padding="max_length", truncation=True, max_length=length)
                assert len(got["input_ids"]) == length
                valid = sum(got["attention_mask"])
                cases.append({"config": name, "text": prompt, "max_length": length, "ids": got["input_ids"][:valid],
                              "dropped": len(whole) - valid})
        shutil.rmtree(folder)
    rows = ",\n".join(json.dumps(c) for c in cases)
    (out / "cases.json").write_text('{"piece_count": %d,\n"configs": %s,\n"cases": [\n%s]}\n' % (pieces, json.dumps(all_configs), rows))


main()
