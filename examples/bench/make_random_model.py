#!/usr/bin/env python3
"""Writes a full-size LTX-Video model with seeded random weights in diffusers' layout, for timing and memory measurements.

Names, shapes and configurations are those of the published 2B model with the VAE of 0.9.5 and later; values are random, scaled so
that activations stay near one. The text encoder is a stand-in with the right output width (4096) and one layer, since none of the
measurements here runs the real one. One tensor is in memory at a time.

  python make_random_model.py /data/random-2b            # 6.4 GB: transformer 3.8 GB, VAE 2.5 GB
  python make_random_model.py /tmp/tiny --tiny           # a few MB, for trying the scripts
"""
import argparse
import io
import json
import pathlib
import struct
import zlib

import torch

SHARD_BYTES = 2 << 30
SAFETENSORS_TYPES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float16: "F16"}

TRANSFORMER = dict(in_channels=128, out_channels=128, patch_size=1, patch_size_t=1, num_attention_heads=32, attention_head_dim=64,
                   cross_attention_dim=2048, num_layers=28, caption_channels=4096, qk_norm="rms_norm_across_heads",
                   activation_fn="gelu-approximate", attention_bias=True, attention_out_bias=True,
                   norm_elementwise_affine=False, norm_eps=1e-6)
VAE = dict(in_channels=3, out_channels=3, latent_channels=128, block_out_channels=[128, 256, 512, 1024, 2048],
           down_block_types=["LTXVideo095DownBlock3D"] * 4, layers_per_block=[4, 6, 6, 2, 2],
           spatio_temporal_scaling=[True] * 4, downsample_type=["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
           decoder_block_out_channels=[256, 512, 1024], decoder_layers_per_block=[5, 5, 5, 5],
           decoder_spatio_temporal_scaling=[True] * 3, decoder_inject_noise=[False] * 4, upsample_residual=[True] * 3,
           upsample_factor=[2] * 3, timestep_conditioning=True, patch_size=4, patch_size_t=1, resnet_norm_eps=1e-6,
           scaling_factor=1.0, encoder_causal=True, decoder_causal=False, spatial_compression_ratio=32,
           temporal_compression_ratio=8)
TEXT = dict(vocab_size=128, d_model=4096, d_kv=64, num_heads=8, d_ff=2048, num_layers=1, feed_forward_proj="gated-gelu",
            dropout_rate=0.0, is_encoder_decoder=False, use_cache=False, pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0, layer_norm_epsilon=1e-6, relative_attention_max_distance=128,
            relative_attention_num_buckets=32, tie_word_embeddings=False)
SCHEDULER = dict(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05,
                 base_image_seq_len=1024, max_image_seq_len=4096, shift_terminal=0.1, invert_sigmas=False,
                 use_karras_sigmas=False, use_exponential_sigmas=False, use_beta_sigmas=False)

# Enough sentences for a tokenizer of 128 pieces; what they say does not matter.
CORPUS = ["a red circle moves to the right on a black background", "the quick brown fox jumps over the lazy dog",
          "waves break on a rocky shore at sunset while birds fly low over the water", "a train crosses an old stone bridge",
          "two children run through tall grass, the camera follows them slowly", "neon light, rain, a busy street at night"]


def shrink():
    """The same structure at toy widths."""
    TRANSFORMER.update(num_attention_heads=4, attention_head_dim=16, cross_attention_dim=64, num_layers=2)
    VAE.update(block_out_channels=[8, 16, 32, 64, 128], layers_per_block=[2, 1, 1, 1, 1], decoder_block_out_channels=[16, 32, 64],
               decoder_layers_per_block=[1, 1, 1, 1])


def values(name, shape, seed, device):
    """Random f32 values of one tensor; they depend on the seed, the name and the device that draws them."""
    generator = torch.Generator(device).manual_seed(seed ^ zlib.crc32(name.encode()))
    normal = lambda: torch.randn(shape, generator=generator, device=device)
    if name.endswith("timestep_scale_multiplier"):
        return torch.full(shape, 1000.0)
    if name == "latents_std":
        return 0.5 + torch.rand(shape, generator=generator, device=device)
    if name == "latents_mean":
        return 0.1 * normal()
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape)
    if len(shape) < 2:  # biases
        return 0.02 * normal()
    scale = torch.Size(shape[1:]).numel() ** -0.5  # 1/sqrt(fan in)
    if name.endswith("SelfAttention.q.weight"):  # T5 does not divide the scores by sqrt(d_kv)
        scale *= TEXT["d_kv"] ** -0.5
    if name == "shared.weight":
        scale = 1.0
    return scale * normal()


def write_file(path, shapes, dtype, seed, device):
    """One .safetensors, tensor by tensor: the header is known before any value."""
    header, at = {}, 0
    element = torch.tensor([], dtype=dtype).element_size()
    for name, shape in shapes:
        size = torch.Size(shape).numel() * element
        header[name] = dict(dtype=SAFETENSORS_TYPES[dtype], shape=list(shape), data_offsets=[at, at + size])
        at += size
    header["__metadata__"] = {"format": "pt"}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes:
            file.write(values(name, tuple(shape), seed, device).to(dtype).cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return at


def write_weights(folder, stem, shapes, dtype, seed, device):
    element = torch.tensor([], dtype=dtype).element_size()
    shards, size = [[]], 0
    for name, shape in shapes:
        bytes_ = torch.Size(shape).numel() * element
        if size and size + bytes_ > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += bytes_
    if len(shards) == 1:
        return write_file(folder / f"{stem}.safetensors", shards[0], dtype, seed, device)
    weight_map, total = {}, 0
    for i, shard in enumerate(shards):
        file = f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        total += write_file(folder / file, shard, dtype, seed, device)
        weight_map.update({name: file for name, _ in shard})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1))
    return total


def shapes_of(module):
    return [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_tokenizer(folder):
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS * 20), model_writer=model, vocab_size=100,
                                             model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
                                             num_threads=1, minloglevel=2)
    (folder / "spiece.model").write_bytes(model.getvalue())
    write_json(folder / "tokenizer_config.json", dict(tokenizer_class="T5Tokenizer", eos_token="</s>", pad_token="<pad>",
                                                      unk_token="<unk>", extra_ids=0, additional_special_tokens=[],
                                                      model_max_length=512, legacy=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--tiny", action="store_true", help="toy widths")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16", help="of the files")
    parser.add_argument("--device", default="cpu", help="what draws the numbers; cuda is faster and draws others")
    args = parser.parse_args()
    if args.tiny:
        shrink()
    from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    dtype = dict(bf16=torch.bfloat16, fp32=torch.float32)[args.dtype]
    folders = {name: args.output / name for name in ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        transformer = LTXVideoTransformer3DModel(**TRANSFORMER)
        vae = AutoencoderKLLTXVideo(**VAE)
        text = T5EncoderModel(T5Config(**TEXT))
    text_shapes = [(name, shape) for name, shape in shapes_of(text) if name != "encoder.embed_tokens.weight"]  # tied to `shared`

    stem = "diffusion_pytorch_model"
    sizes = {"transformer": write_weights(folders["transformer"], stem, shapes_of(transformer), dtype, args.seed, args.device),
             "vae": write_weights(folders["vae"], stem, shapes_of(vae), dtype, args.seed + 1, args.device),
             "text_encoder": write_weights(folders["text_encoder"], "model", text_shapes, dtype, args.seed + 2, args.device)}
    write_json(folders["transformer"] / "config.json",
               dict(_class_name="LTXVideoTransformer3DModel", _diffusers_version="0.32.0", **TRANSFORMER))
    write_json(folders["vae"] / "config.json", dict(_class_name="AutoencoderKLLTXVideo", _diffusers_version="0.32.0", **VAE))
    write_json(folders["text_encoder"] / "config.json", dict(architectures=["T5EncoderModel"], model_type="t5", **TEXT))
    write_json(folders["scheduler"] / "scheduler_config.json",
               dict(_class_name="FlowMatchEulerDiscreteScheduler", _diffusers_version="0.32.0", **SCHEDULER))
    write_json(args.output / "model_index.json",
               dict(_class_name="LTXPipeline", _diffusers_version="0.32.0", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
                    text_encoder=["transformers", "T5EncoderModel"], tokenizer=["transformers", "T5Tokenizer"],
                    transformer=["diffusers", "LTXVideoTransformer3DModel"], vae=["diffusers", "AutoencoderKLLTXVideo"]))
    write_tokenizer(folders["tokenizer"])
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
