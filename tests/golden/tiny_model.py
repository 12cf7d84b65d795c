"""The tiny LTX-Video model behind the golden tensors and the program's tests.

A complete diffusers-layout folder: every part has the structure of the 2B models from the timestep-conditioned releases on
(encoder with space-to-depth residuals, decoder with depth-to-space residuals and a decode timestep, causal positions) at a
few channels. Weights are random from SEED and scaled by fan-in, so that activations stay near 1 and every bias, gate and table
matters. Sizes are odd on purpose: transformer width 20 (20 % 6 = 2, as 2048 % 6), no multiple of a vector register; T5 inner
width 16 unlike its width 24; 8 latent channels. The VAE is stored in bf16, as released files are, the rest in f32.

make_golden.py calls build(); nothing here is meant to be run alone.
"""
import hashlib
import io
import json
import math
import os
import random
from pathlib import Path

import torch

SEED = 20
LATENT_CHANNELS = 8
TEXT_WIDTH = 24
CAPTION_LENGTH = 256
NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"
PROMPT = "A red circle moves slowly to the right. The camera is still."
PROMPT_2 = "Two blue squares turn and fall, then a green star rises."

# What the prompts of the tests need: some words, punctuation, upper case and single letters for the rest.
_WORDS = ("a the red blue green yellow white black circle square star triangle moves turns falls rises slowly quickly to left right "
          "up down and then two three camera is still pans background dark bright worst quality inconsistent motion blurry jittery "
          "distorted woman man walks along beach at sunset light soft with of in on video").split()
# A handful of the rules of T5's own normaliser; the full table would be 240 KB.
_RULES = {"\uff21": "A", "\uff22": "B", "\ufb01": "fi", "\u00bd": "1\u20442", "\u2026": "...", "\u3000": " ", "\t": " ", "\n": " "}


def generator(label):
    """A generator of its own for every part, so that adding a tensor to one moves no other."""
    digest = hashlib.sha256(f"{SEED}/{label}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def fill(module, label, gain=lambda name: 1.0):
    """Random weights: matrices by fan-in times gain(name), biases 0.1, norm weights around 1, tables 0.35."""
    g = generator(label)
    for name, p in sorted(module.named_parameters()):
        leaf = name.split(".")[-1]
        if leaf == "timestep_scale_multiplier":
            continue
        noise = torch.randn(p.shape, generator=g)
        if leaf == "scale_shift_table":
            value = 0.35 * noise
        elif leaf == "bias":
            value = 0.1 * noise
        elif p.ndim == 1:
            value = 1 + 0.2 * noise
        elif "shared" in name or "embed_tokens" in name or "relative_attention_bias" in name:
            value = noise
        else:
            value = noise * gain(name) / math.sqrt(math.prod(p.shape[1:]))
        p.data.copy_(value)
    return module.eval()


def train_tokenizer(folder):
    import sentencepiece

    r = random.Random(SEED)
    lines = [" ".join(r.choice(_WORDS) for _ in range(r.randint(3, 9))) + r.choice([".", ",", "!", ""]) for _ in range(600)]
    lines = [s[0].upper() + s[1:] if r.random() < 0.5 else s for s in lines]
    lines += [PROMPT, PROMPT_2, NEGATIVE, "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 ;:'\"()-?"] * 4
    here = os.getcwd()
    os.chdir(folder)  # the model remembers the path of its rules: a relative one is the same everywhere
    rules = Path("rules.tsv")
    rules.write_text("".join(" ".join(f"{ord(c):X}" for c in k) + "\t" + " ".join(f"{ord(c):X}" for c in v) + "\n"
                             for k, v in sorted(_RULES.items())))
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=buffer, vocab_size=192, model_type="unigram", num_threads=1,
        normalization_rule_tsv=str(rules), character_coverage=1.0, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>")
    rules.unlink()
    os.chdir(here)
    (folder / "spiece.model").write_bytes(buffer.getvalue())
    extra = [f"<extra_id_{i}>" for i in range(100)]
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 100,
         "additional_special_tokens": extra, "model_max_length": 128, "legacy": True, "clean_up_tokenization_spaces": True}) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(
        {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": extra}) + "\n")


def make_t5(vocabulary):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=vocabulary, d_model=TEXT_WIDTH, d_kv=8, num_heads=2, d_ff=36, num_layers=2, num_decoder_layers=2,
                      feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-6, is_encoder_decoder=True,
                      relative_attention_num_buckets=32, relative_attention_max_distance=128, tie_word_embeddings=False,
                      pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, architectures=["T5EncoderModel"])
    # T5 does not scale q.k; without the smaller queries the softmax would be one-hot.
    return fill(T5EncoderModel(config), "t5", lambda name: 1.4 / math.sqrt(8) if ".q." in name else 1.0)


def make_transformer(layers=3):
    from diffusers import LTXVideoTransformer3DModel

    model = LTXVideoTransformer3DModel(
        in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, patch_size=1, patch_size_t=1, num_attention_heads=2,
        attention_head_dim=10, cross_attention_dim=20, num_layers=layers, activation_fn="gelu-approximate",
        qk_norm="rms_norm_across_heads", norm_elementwise_affine=False, norm_eps=1e-6, caption_channels=TEXT_WIDTH,
        attention_bias=True, attention_out_bias=True)
    # The head of the modulation is kept moderate, or the residual stream would explode over the blocks.
    return fill(model, "transformer", lambda name: 0.6 if name == "time_embed.linear.weight" else 1.0)


def make_vae():
    from diffusers import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(
        in_channels=3, out_channels=3, latent_channels=LATENT_CHANNELS, patch_size=4, patch_size_t=1, resnet_norm_eps=1e-6,
        scaling_factor=1.0, encoder_causal=True, decoder_causal=False, timestep_conditioning=True,
        block_out_channels=(4, 8, 8, 8, 8), down_block_types=("LTXVideo095DownBlock3D",) * 4, layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True,) * 4, downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        spatial_compression_ratio=32, temporal_compression_ratio=8,
        decoder_block_out_channels=(8, 8, 8), decoder_spatio_temporal_scaling=(True,) * 3, decoder_layers_per_block=(1, 1, 2, 1),
        decoder_inject_noise=(False,) * 4, upsample_residual=(True,) * 3, upsample_factor=(2, 1, 1))
    fill(vae, "vae", lambda name: 1.3 if ".conv" in name else 1.0)
    g = generator("vae statistics")
    # Log-variance below its clamp at -30, so that a posterior sample is the mean to 3e-7.
    vae.encoder.conv_out.conv.weight.data[-1] *= 0.1
    vae.encoder.conv_out.conv.bias.data[-1] = -45.0
    vae.decoder.conv_out.conv.weight.data.mul_(0.45)  # most pixels inside [-1, 1]
    vae.latents_mean.copy_(0.4 * torch.randn(LATENT_CHANNELS, generator=g))
    vae.latents_std.copy_(0.6 + 0.8 * torch.rand(LATENT_CHANNELS, generator=g))
    return vae.to(torch.bfloat16).float()  # the values that the file will hold


SCHEDULER = dict(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False)


def build(folder):
    """Writes the model folder and returns its parts in f32: (tokenizer, t5, transformer, vae)."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from transformers import T5Tokenizer

    folder = Path(folder)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    train_tokenizer(folder / "tokenizer")
    tokenizer = T5Tokenizer.from_pretrained(str(folder / "tokenizer"))
    t5 = make_t5((len(tokenizer) + 15) // 16 * 16)
    transformer, vae = make_transformer(), make_vae()
    t5.save_pretrained(folder / "text_encoder", max_shard_size="20KB")
    transformer.save_pretrained(folder / "transformer")
    vae.to(torch.bfloat16).save_pretrained(folder / "vae")
    vae.float()
    FlowMatchEulerDiscreteScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": "LTXConditionPipeline", "_diffusers_version": "0.32.0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"], "transformer": ["diffusers", "LTXVideoTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLLTXVideo"]}, indent=1) + "\n")
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
    return tokenizer, t5, transformer, vae
