"""The configurations of the four parts, exactly the LTX-Video classes of diffusers, and their init."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

LATENT_CHANNELS = 48
VOCABULARY = 291
TEXT_WIDTH = 128
MAX_TEXT_TOKENS = 64

VAE = dict(
    in_channels=3, out_channels=3, latent_channels=LATENT_CHANNELS,
    block_out_channels=(32, 32, 64, 64, 128),
    down_block_types=("LTXVideo095DownBlock3D",) * 4,
    spatio_temporal_scaling=(True, True, True, True),
    layers_per_block=(1, 1, 1, 1, 1),
    downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    decoder_block_out_channels=(64, 64, 96),
    decoder_spatio_temporal_scaling=(True, True, True),
    decoder_layers_per_block=(1, 3, 1, 1),
    decoder_inject_noise=(False,) * 4,
    upsample_residual=(True, True, True), upsample_factor=(1, 1, 1),
    timestep_conditioning=False, patch_size=4, patch_size_t=1,
    encoder_causal=True, decoder_causal=False,
    spatial_compression_ratio=32, temporal_compression_ratio=8,
)

TRANSFORMER = dict(
    in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, patch_size=1, patch_size_t=1,
    num_attention_heads=6, attention_head_dim=32, cross_attention_dim=192, num_layers=6,
    caption_channels=TEXT_WIDTH, qk_norm="rms_norm_across_heads",
)

TEXT = dict(
    vocab_size=VOCABULARY, d_model=TEXT_WIDTH, d_kv=32, num_heads=4, d_ff=256, num_layers=3,
    feed_forward_proj="gated-gelu", dropout_rate=0.0, tie_word_embeddings=False,
    is_encoder_decoder=False, use_cache=False, pad_token_id=0, eos_token_id=1,
    decoder_start_token_id=0,
)


def make_vae() -> AutoencoderKLLTXVideo:
    vae = AutoencoderKLLTXVideo(**VAE)
    with torch.no_grad():
        for name, p in vae.named_parameters():
            if ".conv2.conv." in name:
                p.zero_()  # every residual block starts as the identity
        out = vae.encoder.conv_out.conv
        out.weight[:-1] *= 4
        out.weight[-1:] = 0  # one constant, small posterior variance
        out.bias[-1:] = -9
    return vae


def make_transformer() -> LTXVideoTransformer3DModel:
    model = LTXVideoTransformer3DModel(**TRANSFORMER)
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    return model


def make_text_encoder() -> T5EncoderModel:
    return T5EncoderModel(T5Config(**TEXT))
