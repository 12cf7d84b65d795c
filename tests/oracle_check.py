#!/usr/bin/env python3
"""Runs the ltxv program against reference cases and prints how far it is from each.

    python tests/oracle_check.py --ltxv build/bin/ltxv --cases FOLDER [--only v095] [--single-file] [--tolerance 1e-3]

FOLDER holds cases of the reference implementations: <version>/model_diffusers, <version>/model_original (one checkpoint file, a T5 file,
tokenizer/) and, below text/, vae/, pipelines/, official/, lora/, ic_lora/ and long_video/, case folders with case.json, inputs.safetensors and
expected.safetensors; and upsampler/<kind>/ (--only upsampler). Everything random comes from the cases (--noise). Where the two reference implementations disagree, the options
that choose between them are given (--text-padding, --decode-noise-space).

One line a case: the largest error over the deviation of what is expected. Exit status 1 when one is above the tolerance.
Needs torch and safetensors.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

torch.set_grad_enabled(False)


def listed(value):
    return ",".join(map(str, value)) if isinstance(value, list) else value


class Check:
    def __init__(self, options):
        self.options, self.rows = options, []

    def ltxv(self, *words):
        if self.options.single_file:  # the same weights in the original layout, text encoder and tokenizer given apart
            at = words.index("-m") + 1
            original = words[at].parent / "model_original"
            checkpoint = next(original.glob("ltxv-*.safetensors"))
            words = [*words[:at], checkpoint, "--text-encoder", original / "t5xxl_tiny_fp32.safetensors", "--tokenizer",
                     original / "tokenizer", *words[at + 1:]]
        result = subprocess.run([str(self.options.ltxv), *map(str, words), "--device", self.options.device], capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"exit {result.returncode}: {result.stderr.strip().splitlines()[-1:]}")

    def compare(self, case, what, actual, expected):
        if actual.shape != expected.shape:
            self.row(case, what, float("inf"), f"shape {list(actual.shape)}, expected {list(expected.shape)}")
            return
        deviation = expected.double().std().item() if expected.numel() > 1 else expected.double().abs().max().item()
        self.row(case, what, (actual.double() - expected.double()).abs().max().item() / max(deviation, 1e-12))

    def row(self, case, what, error, note=""):
        good = error <= self.options.tolerance
        self.rows.append(good)
        print(f"{'ok  ' if good else 'FAIL'} {error:9.2e}  {case} {what} {note}".rstrip(), flush=True)

    def guarded(self, name, run, *args):
        if self.options.match not in name:
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                run(name, *args, Path(folder))
        except (RuntimeError, KeyError, OSError) as error:
            self.row(name, "", float("inf"), str(error))

    # -------------------------------------------------------------------------------------------- cases

    def text(self, name, case, model, folder):
        meta, expected = json.loads((case / "case.json").read_text()), load_file(case / "expected.safetensors")
        masks = load_file(case / "inputs.safetensors")["attention_mask"]
        for i, text in enumerate(meta["texts"]):
            self.ltxv("embed", text, "-m", model, "-o", folder / "e.safetensors", "--max-text-tokens", meta["max_length"], "--dtype", self.options.dtype)
            out = load_file(folder / "e.safetensors")
            count = int(masks[i].sum())
            assert torch.equal(out["prompt_attention_mask"][0].long(), masks[i].long()), f"mask of text {i}"
            self.compare(name, f"text {i}", out["prompt_embeds"][0, :count], expected["embeds_with_mask"][i, :count])

    def encode(self, name, case, model, folder):
        save_file({"frames": load_file(case / "inputs.safetensors")["pixels"]}, folder / "in.safetensors")
        self.ltxv("encode", folder / "in.safetensors", "-m", model, "-o", folder / "out.safetensors", "--dtype", self.options.dtype)
        self.compare(name, "latents", load_file(folder / "out.safetensors")["latents"],
                     load_file(case / "expected.safetensors")["latents_normalized"])

    def decode(self, name, case, model, folder):
        inputs, expected = load_file(case / "inputs.safetensors"), load_file(case / "expected.safetensors")
        maps = sorted(k for k in inputs if k.startswith("inject_noise_"))
        save_file({"latents": inputs["latents_normalized"]}, folder / "in.safetensors")
        noise = {"decode": torch.zeros_like(inputs["latents_normalized"])} | {f"decoder_{i:02d}": inputs[k] for i, k in enumerate(maps)}
        save_file(noise, folder / "noise.safetensors")
        self.ltxv("decode", folder / "in.safetensors", "-m", model, "-o", folder / "out.safetensors", "--dtype", self.options.dtype,
                  "--decode-timestep", 0.05, "--decode-noise-scale", 0, "--noise", folder / "noise.safetensors")
        self.compare(name, "frames", load_file(folder / "out.safetensors")["frames"], expected["pixels"])

    def decode_with_noise(self, name, case, model, folder):
        meta, inputs = json.loads((case / "case.json").read_text()), load_file(case / "inputs.safetensors")
        expected = load_file(case / "expected.safetensors")
        latents = inputs["latents_normalized"]
        save_file({"latents": latents}, folder / "in.safetensors")
        save_file({"decode": inputs["noise"]} | self.zero_maps(case.parents[1]), folder / "noise.safetensors")
        for space, pixels in (("raw", "pixels_noise_in_raw_space"), ("normalised", "pixels_noise_in_normalized_space")):
            self.ltxv("decode", folder / "in.safetensors", "-m", model, "-o", folder / "out.safetensors", "--dtype", self.options.dtype, "--decode-timestep",
                      meta["decode_timestep"], "--decode-noise-scale", meta["decode_noise_scale"], "--noise", folder / "noise.safetensors",
                      "--decode-noise-space", space)
            self.compare(name, f"frames ({space} space)", load_file(folder / "out.safetensors")["frames"], expected[pixels])

    def pipeline(self, name, case, model, folder):
        meta, inputs, expected = (json.loads((case / "case.json").read_text()), load_file(case / "inputs.safetensors"),
                                  load_file(case / "expected.safetensors"))
        frames = inputs.get("image_pixels")
        conditions = [(frames, 0, 1.0)] if frames is not None else []
        for i, item in enumerate(meta.get("conditions", [])):
            conditions.append((inputs[f"cond{i}_pixels"], item["frame_index"], item["strength"]))
        pixels = "pixels_raw" in expected
        official = meta["kind"] == "official_pipeline"
        draws = self.draws(meta, inputs, expected, model)
        # Cases that end with latents drew no maps for the decoder; any will do.
        save_file(draws if pixels else self.zero_maps(case.parents[1]) | draws, folder / "noise.safetensors")
        words = ["generate", meta["prompt"], "-m", model, "-o", folder / "out.safetensors", "--negative", meta["negative_prompt"],
                 "--width", meta["width"], "--height", meta["height"], "--frames", meta["num_frames"], "--fps", meta["frame_rate"],
                 "--guidance", listed(meta["guidance_scale"]), "--dtype", self.options.dtype, "--guidance-rescale",
                 listed(meta["rescaling_scale"] if official else meta.get("guidance_rescale", 0)),
                 "--max-text-tokens", meta["text_encoder_max_tokens" if official else "max_sequence_length"], "--noise", folder / "noise.safetensors",
                 "--save-latents", folder / "latents.safetensors", "--image-noise-scale", meta.get("image_cond_noise_scale", 0),
                 "--decode-timestep", meta.get("decode_timestep", 0.05), "--decode-noise-scale", meta.get("decode_noise_scale", 0.025) if pixels else 0]
        if "timesteps" in meta:  # diffusers counts to 1000
            words += ["--sigmas", ",".join(str(t if official else t / 1000) for t in meta["timesteps"])]
        else:
            words += ["--steps", meta["num_inference_steps"]]
        if official:
            words += self.official_words(meta)
        if "denoise_strength" in meta:
            save_file({"latents": inputs["latents"]}, folder / "video.safetensors")
            words += ["--input-video", folder / "video.safetensors", "--strength", meta["denoise_strength"]]
        for i, (frames, index, strength) in enumerate(conditions):
            save_file({"frames": frames}, folder / f"condition{i}.safetensors")
            words += ["--condition", f"{folder}/condition{i}.safetensors@{index}:{strength}"]
        words += [] if meta["t5_attention_mask"] else ["--text-padding", "attended"]
        words += [] if official else ["--decode-noise-space", "raw"]
        self.ltxv(*words)
        self.compare(name, "latents", load_file(folder / "latents.safetensors")["latents"], expected["final_latents"])
        if pixels:
            self.compare(name, "frames", load_file(folder / "out.safetensors")["frames"], expected["pixels_raw"])

    def lora(self, name, case, model, folder):
        """One prediction of the transformer for every file: a run of one step from t to 0 moves x to x - t v."""
        inputs, expected = load_file(case / "inputs.safetensors"), load_file(case / "expected.safetensors")
        tokens, level, grid = inputs["hidden_states"], float(inputs["timestep_x1000"]) / 1000, (2, 2, 2)
        initial = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
        save_file({"initial": initial, "decode": torch.zeros_like(initial)} | self.zero_maps(case.parent, grid), folder / "noise.safetensors")
        save_file({"prompt_embeds": inputs["encoder_hidden_states"], "prompt_attention_mask": inputs["encoder_attention_mask"].long()},
                  folder / "embeds.safetensors")
        half = "peft_or_comfyui_scale_0.8"
        runs = [("base", []), (half, ["lora_diffusers_peft:0.8"]), (half, ["lora_comfyui:0.8"]),
                ("kohya_style_scale_1", ["lora_kohya_style"]), ("comfyui_alpha_all_layers_scale_1", ["lora_comfyui_alpha_all_layers:1.0"]),
                # Several files add up: the same matrices at 0.5 and 0.3, and three times at factors whose sum is 0.8.
                (half, ["lora_diffusers_peft:0.5", "lora_comfyui:0.3"]),
                (half, ["lora_kohya_style:1e0", "lora_comfyui:-0.2", "lora_diffusers_peft:0.5"]),
                ("base", ["lora_diffusers_peft:0"])]
        for what, words in runs:
            loras = []
            for word in words:
                file, _, strength = word.partition(":")
                loras += ["--lora", f"{case / file}.safetensors" + (f":{strength}" if strength else "")]
            self.ltxv("generate", "-m", model, "-o", folder / "out.safetensors", "--width", grid[2] * 32, "--height", grid[1] * 32, "--frames",
                      grid[0] * 8 - 7, "--fps", 25, "--sigmas", level, "--guidance", 1, "--dtype", self.options.dtype, "--decode-noise-scale", 0,
                      "--prompt-embeds", folder / "embeds.safetensors", "--noise", folder / "noise.safetensors", "--save-latents",
                      folder / "latents.safetensors", *loras)
            latents = load_file(folder / "latents.safetensors")["latents"].flatten(2).transpose(1, 2)
            self.compare(name, f"{what} {' + '.join(words)}", (tokens - latents) / level, expected[what])

    def ic_lora(self, name, case, model, folder):
        meta, inputs, expected = (json.loads((case / "case.json").read_text()), load_file(case / "inputs.safetensors"),
                                  load_file(case / "expected.safetensors"))
        frames, initial = inputs["reference_pixels"], inputs["initial_noise"]
        save_file({"frames": frames}, folder / "control.safetensors")
        save_file({"initial": initial, "decode": torch.zeros_like(initial)} | self.zero_maps(case.parent, initial.shape[2:]),
                  folder / "noise.safetensors")
        self.ltxv("generate", meta["prompt"], "-m", model, "-o", folder / "out.safetensors", "--negative", meta["negative_prompt"],
                  "--control", folder / "control.safetensors", "--width", frames.shape[4], "--height", frames.shape[3], "--frames",
                  meta["num_frames"], "--fps", meta["fps"], "--sigmas", listed(meta["timesteps"]), "--guidance", meta["guidance_scale"],
                  "--guidance-rescale", 0, "--image-noise-scale", 0, "--decode-noise-scale", 0, "--dtype", self.options.dtype,
                  "--noise", folder / "noise.safetensors", "--save-latents", folder / "latents.safetensors")
        self.compare(name, "latents", load_file(folder / "latents.safetensors")["latents"], expected["final_latents"])

    def upsampler_of(self, case, kind):
        """An upsampler of the cases' own folder, in the form asked for."""
        folder = next(p for p in case.parents if (p / "upsampler").is_dir()) / "upsampler" / kind
        return next((folder / "model_original").glob("*.safetensors")) if self.options.single_file else folder / "model_diffusers"

    def multiscale(self, name, case, model, folder):
        meta, inputs, expected = (json.loads((case / "case.json").read_text()), load_file(case / "inputs.safetensors"),
                                  load_file(case / "expected.safetensors"))
        named, prefix, count = {}, "", 0
        for draw in meta["noise_draws"]:
            value, site = inputs[f"noise_{draw['index']:02d}"], draw["site"]
            if site.endswith("prepare_latents"):
                prefix, count = ("pass2_" if named else ""), 0
                named[f"{prefix}initial"] = value
            elif site.endswith("image_conditioning_latents"):
                named[f"{prefix}image_step_{count:02d}"] = value
                count += 1
            elif site.endswith("__call__"):
                named["decode"] = value
        save_file({k: v.contiguous() for k, v in named.items()}, folder / "noise.safetensors")
        words = ["generate", meta["prompt"], "-m", model, "--upscaler", self.upsampler_of(case, Path(meta["upsampler"]).name), "-o",
                 folder / "out.safetensors", "--negative", meta["negative_prompt"], "--width", meta["width"], "--height", meta["height"],
                 "--frames", meta["num_frames"], "--fps", meta["frame_rate"], "--downscale", meta["downscale_factor"], "--sigmas",
                 listed(meta["first_pass_timesteps"]), "--pass2-sigmas", listed(meta["second_pass_timesteps"]), "--guidance", 1,
                 "--tone-map", meta["tone_map_compression_ratio"], "--decode-timestep", meta["decode_timestep"], "--decode-noise-scale",
                 meta["decode_noise_scale"], "--image-noise-scale", meta["image_cond_noise_scale"], "--max-text-tokens", 256, "--dtype",
                 self.options.dtype, "--noise", folder / "noise.safetensors", "--save-latents", folder / "latents.safetensors"]
        if "image_pixels" in inputs:
            save_file({"frames": inputs["image_pixels"]}, folder / "image.safetensors")
            words += ["--image", folder / "image.safetensors"]
        self.ltxv(*words)
        latents, frames = load_file(folder / "latents.safetensors")["latents"], load_file(folder / "out.safetensors")["frames"]
        last = max((k for k in expected if k.startswith("step")), key=lambda k: int(k[4:].split("_")[0]))
        self.compare(name, "latents", latents.flatten(2).transpose(1, 2), expected[last])
        self.compare(name, "frames", (frames / 2 + 0.5).clamp(0, 1), expected["frames_0_1"])

    def upsample(self, name, case, model, folder):
        """The network alone, through `ltxv upscale`: raw latents of the cases are normalised by the model's statistics first."""
        meta, inputs, expected = (json.loads((case / "case.json").read_text()), load_file(case / "inputs.safetensors"),
                                  load_file(case / "expected.safetensors"))
        vae = load_file(model / "vae" / "diffusion_pytorch_model.safetensors")
        mean, std = (vae[f"latents_{key}"].float().view(1, -1, 1, 1, 1) for key in ("mean", "std"))
        if meta["kind"] == "upsampler_forward":
            kind, runs = case.parent.name, [("latents", 0, (inputs["latents"] - mean) / std, expected["latents"])]
        else:
            kind, z = meta["upsampler"], inputs["latents_normalized"]
            runs = [("plain", 0, z, expected["plain"] * std + mean), ("adain", 1, z, expected["ltx_video_adain"] * std + mean)]
        for what, adain, latents, target in runs:
            save_file({"latents": latents.contiguous()}, folder / "in.safetensors")
            self.ltxv("upscale", folder / "in.safetensors", "-m", model, "--upscaler", self.upsampler_of(case, kind), "--adain", adain,
                      "-o", folder / "out.safetensors", "--dtype", self.options.dtype)
            self.compare(name, what, load_file(folder / "out.safetensors")["latents"] * std + mean, target)

    def long_video(self, name, case, model, folder):
        meta, inputs, expected = (json.loads((case / "case.json").read_text()), load_file(case / "inputs.safetensors"),
                                  load_file(case / "expected.safetensors"))
        # One window after another: the first noise of each comes from the pipeline, those of its steps from the scheduler.
        named, window, step = {}, -1, 0
        for draw in meta["noise_draws"]:
            value = inputs[f"noise_{draw['index']:02d}"]
            if draw["site"].endswith("__call__"):
                window, step = window + 1, 0
                named[f"window_{window:02d}_initial"] = value
            else:
                named[f"window_{window:02d}_stochastic_{step:02d}"] = value
                step += 1
        save_file(named, folder / "noise.safetensors")
        save_file({"frames": inputs["image_pixels"]}, folder / "image.safetensors")
        words = ["generate", " | ".join(meta["prompts"]), "-m", model, "-o", folder / "out.safetensors", "--negative", meta["negative_prompt"],
                 "--width", meta["width"], "--height", meta["height"], "--frames", meta["num_frames"], "--fps", meta["frame_rate"],
                 "--guidance", meta["guidance_scale"], "--dtype", self.options.dtype, "--sigmas", listed(meta["sigmas"][:-1]),
                 "--condition", f"{folder}/image.safetensors@0:{meta['cond_strength']}", "--window-frames", meta["temporal_tile_size"],
                 "--window-overlap", meta["temporal_overlap"], "--window-strength", meta["temporal_overlap_cond_strength"],
                 "--window-match", meta["adain_factor"], "--window-eta", meta["eta"], "--max-text-tokens", meta["max_sequence_length"],
                 "--noise", folder / "noise.safetensors", "--save-latents", folder / "latents.safetensors", "--decode-noise-scale", 0]
        words += [] if meta["t5_attention_mask"] else ["--text-padding", "attended"]
        self.ltxv(*words)
        self.compare(name, "latents", load_file(folder / "latents.safetensors")["latents"], expected["latents"])

    @staticmethod
    def zero_maps(version, grid=None):
        """Zeros for the maps that the decoder injects: as in the plain decode case, or of another grid of latents [T,H,W]."""
        inputs = load_file(version / "vae" / "decode_3" / "inputs.safetensors")
        maps = sorted((k, v) for k, v in inputs.items() if k.startswith("inject_noise_"))
        height, width = inputs["latents_normalized"].shape[3:]
        _, rows, columns = grid or (0, height, width)
        return {f"decoder_{i:02d}": torch.zeros(v.shape[0] // height * rows, v.shape[1] // width * columns) for i, (k, v) in enumerate(maps)}

    @staticmethod
    def official_words(meta):
        words = ["--stg-scale", listed(meta["stg_scale"])]
        blocks = meta.get("skip_block_list")
        if blocks:
            bins = blocks if isinstance(blocks[0], list) else [blocks]
            words += ["--skip-blocks", ";".join(",".join(map(str, b)) for b in bins)]
        if "guidance_timesteps" in meta:
            words += ["--guidance-timesteps", listed(meta["guidance_timesteps"])]
        if "skip_layer_strategy" in meta:
            words += ["--stg-mode", {"AttentionValues": "attention_values", "AttentionSkip": "attention_skip", "Residual": "residual",
                                     "TransformerBlock": "transformer_block"}[meta["skip_layer_strategy"]]]
        words += ["--cfg-star"] if meta.get("cfg_star_rescale") else []
        words += ["--stochastic"] if meta.get("stochastic_sampling") else []
        words += ["--skip-last-steps", meta["skip_final_inference_steps"]] if "skip_final_inference_steps" in meta else []
        return words

    def draws(self, meta, inputs, expected, model):
        """The case's draws under the names that the program asks for."""
        latents = expected["final_latents"]
        named = {"decode": torch.zeros_like(latents)}
        if "initial_noise" in inputs:
            named["initial"] = inputs["initial_noise"]
        counts = {"condition": 0, "image_step": 0, "decoder": 0, "stochastic": 0}
        for draw in meta["noise_draws"]:
            value, site = inputs[f"noise_{draw['index']:02d}"], draw["site"]
            if site.startswith("vae:"):
                continue  # of the posterior, whose mean is used
            if "prepare_latents" in site and value.numel() == latents.numel():
                named["initial"] = value
            elif site.endswith("__call__"):
                named["decode"] = value
            else:
                kind = ("condition" if "prepare_" in site else "decoder" if value.ndim == 2 else
                        "stochastic" if site == "rf:step" else "image_step")
                named[f"{kind}_{counts[kind]:02d}"] = value
                counts[kind] += 1
        return {k: v.contiguous() for k, v in named.items()}

    def run(self):
        kinds = {"t5_encode": self.text, "vae_encode": self.encode, "vae_decode": self.decode, "vae_decode_noise": self.decode_with_noise,
                 "t2v": self.pipeline, "i2v": self.pipeline, "condition_pipeline": self.pipeline, "official_pipeline": self.pipeline,
                 "lora": self.lora, "ic_lora": self.ic_lora, "long_video": self.long_video, "multiscale": self.multiscale,
                 "upsampler_forward": self.upsample, "upsample_pipeline": self.upsample}
        jobs = []
        for model in sorted(self.options.cases.glob("*/model_diffusers")):
            version = model.parent
            if self.options.only and version.name not in self.options.only.split(","):
                continue
            for group in ("text", "vae", "pipelines", "official", "lora", "ic_lora", "long_video"):
                for path in sorted((version / group).rglob("case.json")):
                    kind = json.loads(path.read_text())["kind"]
                    # Weights stored in other dtypes lie outside model_diffusers.
                    if kind in kinds and "weights_" not in path.parent.name:
                        jobs.append((str(path.parent.relative_to(self.options.cases)), kinds[kind], path.parent, model))
        with_upsamplers = self.options.cases / "v098_13b" / "model_diffusers"
        if with_upsamplers.is_dir() and (not self.options.only or "upsampler" in self.options.only.split(",")):
            for path in sorted((self.options.cases / "upsampler").rglob("case.json")):
                jobs.append((str(path.parent.relative_to(self.options.cases)), kinds[json.loads(path.read_text())["kind"]], path.parent,
                             with_upsamplers))
        with ThreadPoolExecutor(self.options.jobs) as pool:
            list(pool.map(lambda job: self.guarded(*job), jobs))
        failed = self.rows.count(False)
        print(f"{len(self.rows)} comparisons, {failed} above {self.options.tolerance}")
        return 1 if failed or not self.rows else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ltxv", type=Path, required=True)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--only", default="", help="comma list of version folders")
    parser.add_argument("--single-file", action="store_true", help="read model_original instead of model_diffusers")
    parser.add_argument("--match", default="", help="only cases whose path contains this")
    parser.add_argument("--jobs", type=int, default=1, help="programs at a time")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--device", default="cpu", help="as ltxv --device")
    parser.add_argument("--dtype", default="fp32", help="as ltxv --dtype; bf16 needs a tolerance of its own")
    sys.exit(Check(parser.parse_args()).run())
