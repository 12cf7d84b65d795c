/* ltxv.h - text to video with the LTX-Video models. C99; usable from every language that can call C.
 *
 *   #include <ltxv/ltxv.h>
 *
 *   ltxv_error error = ltxv_error_init();
 *   ltxv_engine *engine = NULL;
 *   ltxv_video *video = NULL;
 *   ltxv_engine_options open = ltxv_engine_options_init();
 *   open.model = "shapes";                            // bundled name, or a folder in diffusers' layout
 *   ltxv_generate_options ask = ltxv_generate_options_init();
 *   ask.prompt = "a red circle moves to the right on a black background";
 *   ask.seed = 7;                                     // every other field stays 0: the model's preset
 *   if (ltxv_engine_open(&open, &engine, &error) != LTXV_OK ||
 *       ltxv_generate(engine, &ask, &video, &error) != LTXV_OK ||
 *       ltxv_video_write(video, "out.mp4", NULL, &error) != LTXV_OK)
 *     fprintf(stderr, "%s\n", error.message);
 *   ltxv_video_free(video);                           // NULL is legal in every _free
 *   ltxv_engine_free(engine);
 *
 * Rules that hold for every function
 * - Functions that can fail return a status and describe the failure in `error`, which the caller owns and which may
 *   be NULL. On failure every output handle is set to NULL, no file is left half-written, and the engine stays usable.
 * - No exception, abort, exit or print crosses this boundary. A required pointer that is NULL gives
 *   LTXV_INVALID_ARGUMENT.
 * - Inputs are copied before a function returns. What this library hands out is freed with the matching _free.
 * - Strings are UTF-8 and end with NUL. Paths are bytes.
 * - Structs start with `struct_size`: set it to the struct's sizeof (the _init functions do). Fields are only ever
 *   appended. A smaller struct than this library knows is completed with zeros; a larger one is accepted if the part
 *   this library does not know is zero, else LTXV_UNSUPPORTED. Set `reserved` fields to 0.
 * - In option structs zero means "the preset's value". Where a zero must be asked for, set its LTXV_ZERO_ bit in
 *   `zero_fields`.
 * - Threads: different handles are independent. One engine may be used by several threads at once. A video, a tensors
 *   or a text handle may be read by several threads; functions marked "one thread" need the handle for themselves. No
 *   handle may be freed while another thread uses it.
 * - fork: after a process has opened an engine, its forked children (without exec) get LTXV_UNSUPPORTED instead of a
 *   hang.
 */
/* clang-format off: tables of comments are laid out by hand */
#ifndef LTXV_LTXV_H
#define LTXV_LTXV_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LTXV_API __attribute__((visibility("default")))
#else
#define LTXV_API
#endif

#ifdef __cplusplus
#define LTXV_NOEXCEPT noexcept
extern "C" {
#else
#define LTXV_NOEXCEPT
#endif

/* ---- status, errors, version --------------------------------------------------------------------------------- */

/** 0, or a negative value below; values are never reused. Positive values are not failures. */
typedef int32_t ltxv_status;
enum {
  LTXV_OK = 0,
  LTXV_END = 1,               /* ltxv_video_next_frame: no more frames */
  LTXV_INVALID_ARGUMENT = -1, /* the caller asked for something impossible */
  LTXV_IO = -2,               /* a file could not be read or written */
  LTXV_BAD_WEIGHTS = -3,      /* a model file is damaged, incomplete or inconsistent */
  LTXV_UNSUPPORTED = -4,      /* valid, but not something this build can do */
  LTXV_OUT_OF_MEMORY = -5,    /* host or device memory ran out */
  LTXV_DEVICE = -6,           /* the compute device failed or is absent */
  LTXV_CANCELLED = -7,        /* the caller cancelled the run */
  LTXV_INTERNAL = -8,         /* a defect of this library; please report it */
  LTXV_NUMERIC = -9           /* NaN or infinity in weights, latents or frames */
};

/** Written only on failure. `message` is one line that names the file, tensor or option, what was found and what is
 *  allowed. A struct_size of 0 counts as the size of this version, 512. */
typedef struct ltxv_error {
  uint32_t struct_size;
  ltxv_status status;
  char message[504]; /* always NUL-terminated, cut at a character boundary */
} ltxv_error;

/** "0.1.0". The text lives as long as the process. Any thread. */
LTXV_API const char *ltxv_version(void) LTXV_NOEXCEPT;
/** Grows when functions or fields are added. A program built against 3 runs with 3 or more. Any thread. */
LTXV_API uint32_t ltxv_abi_version(void) LTXV_NOEXCEPT;
#define LTXV_ABI_VERSION 1u
/** One JSON object on this build: versions, compiler, devices, kernels chosen; everything a bug report needs. The text
 *  lives as long as the process. Any thread. */
LTXV_API const char *ltxv_describe(void) LTXV_NOEXCEPT;
/** "ok", "invalid argument", "cannot read or write", ... for a status; never NULL. Any thread. */
LTXV_API const char *ltxv_status_text(ltxv_status status) LTXV_NOEXCEPT;

/* ---- progress, log, cancel ----------------------------------------------------------------------------------- */

enum {
  LTXV_STAGE_LOAD = 0,    /* reading weights */
  LTXV_STAGE_TEXT = 1,    /* prompt to embeddings */
  LTXV_STAGE_ENCODE = 2,  /* given frames to latents */
  LTXV_STAGE_DENOISE = 3, /* the sampling steps */
  LTXV_STAGE_DECODE = 4,  /* latents to frames */
  LTXV_STAGE_WRITE = 5    /* frames to a file */
};

/** From the library to the caller: read only fields that lie within struct_size. */
typedef struct ltxv_progress {
  uint32_t struct_size;
  int32_t stage;          /* LTXV_STAGE_... */
  int32_t step;           /* finished units of this stage */
  int32_t step_count;     /* units of this stage, 0 when unknown */
  double elapsed_seconds; /* since the call began */
} ltxv_progress;

/** Called on the thread that made the call, between steps, without a lock held. Nonzero stops the run
 *  (LTXV_CANCELLED). Must not throw or longjmp, and must not call functions on the handle the run works on. */
typedef int32_t (*ltxv_progress_fn)(const ltxv_progress *progress, void *user_data);

enum { LTXV_LOG_DEBUG = 0, LTXV_LOG_INFO = 1, LTXV_LOG_WARNING = 2 };
/** One line without line feed, valid during the call. Same rules as ltxv_progress_fn. */
typedef void (*ltxv_log_fn)(int32_t level, const char *message, void *user_data);

/** A switch that stops the runs it was given to, looked at between steps, transformer blocks and tiles. Never
 *  re-armed. */
typedef struct ltxv_cancel ltxv_cancel;
/** Errors: OUT_OF_MEMORY. Any thread. */
LTXV_API ltxv_status ltxv_cancel_new(ltxv_cancel **out, ltxv_error *error) LTXV_NOEXCEPT;
/** Any thread, also before the run starts, also from a signal handler. NULL is legal. */
LTXV_API void ltxv_cancel_trip(ltxv_cancel *cancel) LTXV_NOEXCEPT;
/** Legal while runs that were given the switch still go on: they keep what they need. */
LTXV_API void ltxv_cancel_free(ltxv_cancel *cancel) LTXV_NOEXCEPT;

/* ---- text ---------------------------------------------------------------------------------------------------- */

/** Text made by the library. */
typedef struct ltxv_text ltxv_text;
/** NUL-terminated UTF-8, valid until ltxv_text_free; NULL for NULL. */
LTXV_API const char *ltxv_text_data(const ltxv_text *text) LTXV_NOEXCEPT;
LTXV_API void ltxv_text_free(ltxv_text *text) LTXV_NOEXCEPT;

/** One JSON object on what a model folder, model file or tensor file is: kind, release, parts, parameters, dtype, what
 *  is missing. `path` may be a bundled name. Reads headers only. Errors: IO, BAD_WEIGHTS, UNSUPPORTED. Any thread. */
LTXV_API ltxv_status ltxv_inspect(const char *path, ltxv_text **out, ltxv_error *error) LTXV_NOEXCEPT;

/** The settings stored in a file this library wrote (video, gif, png or .safetensors): one JSON object with the model, the
 *  prompt, the seed, every setting, the paths of conditions, and the version. The same as ltxv_video_metadata gave.
 *  Errors: IO (cannot be read, or holds none). Any thread. */
LTXV_API ltxv_status ltxv_metadata_read(const char *path, ltxv_text **out, ltxv_error *error) LTXV_NOEXCEPT;

typedef struct ltxv_check_options {
  uint32_t struct_size;
  int32_t path_count;
  const char *const *paths;   /* model folders, component folders, files of any part, LoRAs, upsamplers, bundled names */
  const char *release;        /* of files that do not describe themselves; NULL: found out */
  uint32_t headers_only;      /* nonzero: leaves the values of the tensors unread */
  uint32_t reserved;
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
} ltxv_check_options;
/** Says what each file is, whether it is whole and sound, whether the files belong together and what a complete set still
 *  needs, as one JSON object: `good`, `files`, `together`, `missing`, and `findings`, each with `severity` (problem, warning,
 *  note), `path` and `message`. `good` is false when a run with these files would stop or be spoiled; a file that cannot be
 *  read is a finding, not a failure of this call. Every tensor is read once and none is kept. Any thread.
 *  Errors: INVALID_ARGUMENT, CANCELLED. */
LTXV_API ltxv_status ltxv_files_check(const ltxv_check_options *options, ltxv_text **out, ltxv_error *error) LTXV_NOEXCEPT;

typedef struct ltxv_convert_options {
  uint32_t struct_size;
  int32_t path_count;
  const char *const *paths;   /* a model folder, a checkpoint or parts apart; or one LoRA or latent upsampler */
  const char *release;        /* of files that do not describe themselves; NULL: found out */
  const char *output;         /* *.safetensors, *.gguf, or a folder to be made; required */
  const char *dtype;          /* NULL: as stored; "fp32", "bf16", "fp16", "fp8_e4m3" (with scales), "q8_0" (GGUF only) */
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
  const char *names;          /* of a LoRA: "diffusers" (or "peft"), "comfyui", "kohya"; NULL: as stored */
} ltxv_convert_options;
/** Writes model files in another form: a folder in diffusers' layout, one .safetensors file in the names of the original
 *  checkpoints with the configuration in its metadata, or a .gguf file; a LoRA in the names of another program; a latent
 *  upsampler as a file or a folder. What is written is complete or absent; a folder that
 *  is there and not empty is refused. Memory holds a piece of one tensor. *out, which may be NULL, receives one JSON object:
 *  `output`, `form`, `tensors`, `bytes`, `left_out`. Any thread.
 *  Errors: INVALID_ARGUMENT, IO, BAD_WEIGHTS, UNSUPPORTED, NUMERIC (a value the new dtype does not hold), CANCELLED. */
LTXV_API ltxv_status ltxv_files_convert(const ltxv_convert_options *options, ltxv_text **out, ltxv_error *error) LTXV_NOEXCEPT;

/** Everything that can be known to fail about writing to `path` (unknown extension, folder missing or not writable,
 *  encoder missing) before a model is loaded. Writes nothing. Errors: INVALID_ARGUMENT, IO, UNSUPPORTED. Any thread.
 *  */
LTXV_API ltxv_status ltxv_output_check(const char *path, ltxv_error *error) LTXV_NOEXCEPT;

/* ---- tensors ------------------------------------------------------------------------------------------------- */

enum {
  LTXV_F32 = 1, LTXV_F64 = 2, LTXV_F16 = 3, LTXV_BF16 = 4,
  LTXV_I64 = 5, LTXV_I32 = 6, LTXV_I16 = 7, LTXV_I8 = 8, LTXV_U8 = 9, LTXV_BOOL = 10
};

/** A set of named tensors in host memory. */
typedef struct ltxv_tensors ltxv_tensors;

/** From the library to the caller; set struct_size before the call. Everything pointed to is valid until the set is
 *  changed or freed. */
typedef struct ltxv_tensor_view {
  uint32_t struct_size;
  int32_t dtype;        /* LTXV_F32 ... */
  int32_t rank;         /* 0 for a scalar */
  uint32_t reserved;
  const int64_t *shape; /* `rank` sizes, row-major and without gaps */
  const void *data;
  uint64_t byte_count;
  const char *name;
} ltxv_tensor_view;

/** An empty set. */
LTXV_API ltxv_status ltxv_tensors_new(ltxv_tensors **out, ltxv_error *error) LTXV_NOEXCEPT;
/** Every tensor of a .safetensors file. Errors: IO, BAD_WEIGHTS (a rule of the format broken), UNSUPPORTED (element
 *  type). */
LTXV_API ltxv_status ltxv_tensors_load(const char *path, ltxv_tensors **out, ltxv_error *error) LTXV_NOEXCEPT;
/** Writes a .safetensors file, complete or not at all. Errors: IO. */
LTXV_API ltxv_status ltxv_tensors_save(const ltxv_tensors *tensors, const char *path, ltxv_error *error) LTXV_NOEXCEPT;
/** How many tensors; 0 for NULL. */
LTXV_API int32_t ltxv_tensors_count(const ltxv_tensors *tensors) LTXV_NOEXCEPT;
/** Tensor number `index`, in the order of names. Errors: INVALID_ARGUMENT. */
LTXV_API ltxv_status ltxv_tensors_at(const ltxv_tensors *tensors, int32_t index, ltxv_tensor_view *out,
                                     ltxv_error *error) LTXV_NOEXCEPT;
/** Errors: INVALID_ARGUMENT listing the names there are. */
LTXV_API ltxv_status ltxv_tensors_get(const ltxv_tensors *tensors, const char *name, ltxv_tensor_view *out,
                                      ltxv_error *error) LTXV_NOEXCEPT;
/** Adds a copy of row-major data, replacing a tensor of that name. `tensor`: dtype, rank (at most 8), shape, data,
 *  byte_count and name are read. One thread. Errors: INVALID_ARGUMENT (byte_count is not that of dtype and shape). */
LTXV_API ltxv_status ltxv_tensors_add(ltxv_tensors *tensors, const ltxv_tensor_view *tensor,
                                      ltxv_error *error) LTXV_NOEXCEPT;

/** DLPack's exchange struct (dlpack.h, version 0.8), for numpy, torch, jax and others. Not owned by this header. */
struct DLManagedTensor;
/** Shares a tensor without a copy; it outlives the set. The receiver calls (*out)->deleter(*out) once. */
LTXV_API ltxv_status ltxv_tensors_export_dlpack(const ltxv_tensors *tensors, const char *name,
                                                struct DLManagedTensor **out, ltxv_error *error) LTXV_NOEXCEPT;
/** Adds a copy of a host tensor; the caller keeps `tensor` and its duty to call the deleter. One thread. */
LTXV_API ltxv_status ltxv_tensors_import_dlpack(ltxv_tensors *tensors, const char *name,
                                                const struct DLManagedTensor *tensor, ltxv_error *error) LTXV_NOEXCEPT;
LTXV_API void ltxv_tensors_free(ltxv_tensors *tensors) LTXV_NOEXCEPT;

/* ---- engine -------------------------------------------------------------------------------------------------- */

/** One model: configs, tokenizer, weights. Weights are read when a stage first needs them. */
typedef struct ltxv_engine ltxv_engine;

typedef struct ltxv_engine_options {
  uint32_t struct_size;
  int32_t thread_count;     /* compute threads; 0: physical cores */
  const char *model;        /* folder in diffusers' layout, model file or bundled name; NULL: the bundled "shapes" */
  const char *text_encoder; /* parts given apart; NULL: the model's own */
  const char *tokenizer;
  const char *vae;
  const char *transformer;
  const char *device;       /* "auto": a CUDA device where one can be used, else the CPU; "cpu"; "cuda", "cuda:1"; NULL: "auto".
                               "cuda:0,cuda:1": each step is computed on both, or on more of them, with a thread for each
                               further one while a run denoises; callbacks stay on the caller's thread */
  const char *dtype;        /* "auto", "fp32", "bf16", "fp16"; NULL: "auto" */
  uint32_t copy_files;      /* nonzero: read weights into memory; a file that is mapped instead must not be cut */
  uint32_t reserved;
  const char *release;      /* of files that do not describe themselves: a built-in name or a .json file; NULL: found out */
  const char *const *upscalers; /* latent upsamplers (files or folders) for a second pass, in the order they act */
  int32_t upscaler_count;
  uint32_t reserved_2;
  uint32_t cuda_graphs;     /* nonzero: record a prediction of the transformer once and replay it, on a CUDA device */
  uint32_t reserved_3;
  int64_t device_memory_bytes; /* use no more of a CUDA device's memory than this, in the whole process; 0: all of it */
  const char *quantization; /* of the transformer's matrix products: "none", "fp8", "int8" (CPU only): faster, another video; NULL: "none" */
  const char *attention;    /* of the transformer over its own tokens: "exact", "int8": eight bits, for CUDA; NULL: "exact" */
} ltxv_engine_options;

/** Reads configs and headers and checks that the parts belong together. `options` may be NULL. Any thread.
 *  Errors: INVALID_ARGUMENT, IO, BAD_WEIGHTS, UNSUPPORTED, DEVICE, OUT_OF_MEMORY. */
LTXV_API ltxv_status ltxv_engine_open(const ltxv_engine_options *options, ltxv_engine **out,
                                      ltxv_error *error) LTXV_NOEXCEPT;
/** One JSON object: model, release, parts with files, parameters and dtype, device, compute dtype, threads. Valid
 *  until the engine is freed; NULL for NULL. Any thread. */
LTXV_API const char *ltxv_engine_describe(const ltxv_engine *engine) LTXV_NOEXCEPT;

/** What a caller needs to ask for sizes the model can make; set struct_size before the call. */
typedef struct ltxv_engine_properties {
  uint32_t struct_size;
  int32_t spatial_compression;  /* width and height are computed in multiples of this */
  int32_t temporal_compression; /* frame counts are computed as k times this, plus 1 */
  int32_t latent_channel_count;
  int32_t width_px;             /* the default preset's values from here on */
  int32_t height_px;
  int32_t frame_count;
  int32_t step_count;
  double frames_per_second;
  double guidance_scale;        /* where the preset has a list: the largest of it */
  uint64_t seed;
  const double *guidance_scales;    /* the list, one entry for each of guidance_timesteps; NULL without one. The engine's own: valid */
  const double *guidance_timesteps; /* until it is freed */
  int32_t guidance_scale_count;
  int32_t guidance_timestep_count;
} ltxv_engine_properties;
LTXV_API ltxv_status ltxv_engine_info(const ltxv_engine *engine, ltxv_engine_properties *out,
                                      ltxv_error *error) LTXV_NOEXCEPT;
LTXV_API void ltxv_engine_free(ltxv_engine *engine) LTXV_NOEXCEPT;

/* ---- generate ------------------------------------------------------------------------------------------------ */

/** A finished clip in host memory. */
typedef struct ltxv_video ltxv_video;

/** Bits of `zero_fields`: the field of that name is 0 on purpose. */
enum {
  LTXV_ZERO_SEED = 1,
  LTXV_ZERO_GUIDANCE_SCALE = 2,
  LTXV_ZERO_GUIDANCE_RESCALE = 4,
  LTXV_ZERO_IMAGE_NOISE_SCALE = 8,
  LTXV_ZERO_DECODE_TIMESTEP = 16,
  LTXV_ZERO_DECODE_NOISE_SCALE = 32,
  LTXV_ZERO_STRENGTH = 64,
  LTXV_ZERO_IMAGE_CRF = 128,
  LTXV_ZERO_WINDOW_STRENGTH = 256,
  LTXV_ZERO_WINDOW_MATCH = 512,
  LTXV_ZERO_WINDOW_ETA = 1024,
  LTXV_ZERO_ADAIN = 1048576,
  LTXV_ZERO_TONE_MAP = 2097152,
  LTXV_ZERO_SKIP_FIRST_STEPS = 4194304, /* skip none, whatever the preset says */
  LTXV_ZERO_SKIP_LAST_STEPS = 8388608,
  LTXV_ZERO_CFG_STAR = 16777216, /* off, whatever the preset says */
  LTXV_ZERO_STOCHASTIC = 33554432
};

/** How the initial noise follows from the seed. */
enum {
  LTXV_NOISE_TORCH = 1,       /* as diffusers draws it: torch.randn on the CPU at [1,C,T,H,W]; the preset's value */
  LTXV_NOISE_TORCH_TOKENS = 2 /* the same generator at [1,N,C], as the official code draws it */
};

/** An image or clip that the video must contain. */
typedef struct ltxv_condition {
  uint32_t struct_size;
  int32_t frame_index;  /* where its first frame goes */
  const char *path;     /* image, video, or .safetensors with `frames` f32 [1,3,T,H,W] in [-1,1] */
  double strength;      /* 1 (also for 0 without LTXV_ZERO_STRENGTH) keeps it exactly, less lets the model change it */
  uint32_t zero_fields;
  uint32_t reserved;
} ltxv_condition;

/** A LoRA file merged into the transformer for one run; the engine's own weights stay as they are. */
typedef struct ltxv_lora {
  uint32_t struct_size;
  uint32_t zero_fields; /* LTXV_ZERO_STRENGTH */
  const char *path;     /* .safetensors in the names of PEFT, diffusers, ComfyUI or kohya */
  double strength;      /* factor of what the file adds, -100 to 100; 0 is 1 without LTXV_ZERO_STRENGTH */
} ltxv_lora;

/** The second of two passes, over latents of the first that the engine's upscalers enlarged. Zeros and NULLs: the
 *  preset's values, else those of the first pass. Lists are as in ltxv_generate_options. */
typedef struct ltxv_second_pass {
  uint32_t struct_size;
  uint32_t zero_fields;       /* LTXV_ZERO_ADAIN, _TONE_MAP, _SKIP_FIRST_STEPS, _SKIP_LAST_STEPS, _CFG_STAR, _STOCHASTIC */
  int32_t step_count;         /* of a whole schedule, of which skip_first_steps leaves the end */
  int32_t sigma_count;
  const double *sigmas;
  int32_t skip_first_steps;
  int32_t skip_last_steps;
  const double *guidance_timesteps;
  const double *guidance_scales;
  const double *guidance_rescales;
  const double *stg_scales;
  int32_t guidance_timestep_count;
  int32_t guidance_scale_count;
  int32_t guidance_rescale_count;
  int32_t stg_scale_count;
  const char *stg_mode;
  const char *skip_blocks;
  uint32_t cfg_star;          /* nonzero: on; 0: the preset's, else as in the first pass (LTXV_ZERO_CFG_STAR: off) */
  uint32_t stochastic;
  double downscale;           /* size of the first pass over that of the result, with a spatial upscaler; 0: two thirds */
  double adain;               /* how far the enlarged latents take on the first pass's statistics; 0: 1 */
  double tone_map;            /* compression of the final latents' tones, 0 to 1 */
} ltxv_second_pass;

typedef struct ltxv_generate_options {
  uint32_t struct_size;
  int32_t frame_count;          /* off the model's grid: computed larger, then cropped; so are width and height */
  int32_t width_px;
  int32_t height_px;
  double seconds;               /* instead of frame_count */
  double frames_per_second;
  const char *prompt;           /* required unless prompt_embeds_path is given; may be "" */
  const char *negative_prompt;  /* NULL: the preset's; "" is an empty one */
  const char *prompt_embeds_path; /* .safetensors made by ltxv_embed, used instead of the text encoder */
  const char *negative_prompt_embeds_path;
  int32_t step_count;
  int32_t sigma_count;          /* with sigmas: an explicit schedule, descending in (0, 1]; the last 0 is implied */
  const double *sigmas;
  double guidance_scale;        /* 1 switches guidance off */
  double guidance_rescale;
  uint64_t seed;                /* any value is reproducible, 0 with LTXV_ZERO_SEED */
  uint32_t zero_fields;         /* LTXV_ZERO_... */
  int32_t noise_kind;           /* LTXV_NOISE_... */
  int32_t max_text_tokens;
  int32_t condition_count;
  const ltxv_condition *conditions; /* an array; every element has the struct_size of the first */
  double image_noise_scale;
  double decode_timestep;
  double decode_noise_scale;
  const char *noise_path;       /* .safetensors with every random draw by name, instead of the generator */
  const char *save_noise_path;  /* writes the draws of this run */
  const char *save_latents_path; /* writes the denoised, normalised latents: `latents` f32 [1,C,T,H,W] */
  const char *preset;           /* name of a preset of the model */
  ltxv_progress_fn on_progress; /* each of these four may be NULL */
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
  /* Guidance that changes with the noise level: a list holds one entry, or one for each of guidance_timesteps
   * (descending in [0,1]). A step takes the first entry whose timestep is not above its sigma, or the last one. */
  const double *guidance_timesteps;
  const double *guidance_scales;   /* instead of guidance_scale */
  const double *guidance_rescales; /* instead of guidance_rescale; with spatio-temporal guidance 1 switches it off */
  const double *stg_scales;        /* spatio-temporal guidance; above 0 costs one more prediction a step */
  int32_t guidance_timestep_count;
  int32_t guidance_scale_count;
  int32_t guidance_rescale_count;
  int32_t stg_scale_count;
  const char *stg_mode;            /* "attention_values" (NULL), "attention_skip", "residual", "transformer_block" */
  const char *skip_blocks;         /* blocks the perturbed prediction changes: "11,25,35;22,35" (one list a bin) */
  uint32_t cfg_star;               /* nonzero: project the negative prediction on the positive one first; 0: the preset's */
  uint32_t stochastic;             /* nonzero: fresh noise after every step, as some distilled models want; 0: the preset's */
  int32_t skip_first_steps;        /* cut from the schedule; the first ones only with input_video_path; 0: the preset's */
  int32_t skip_last_steps;         /* for none of these four see LTXV_ZERO_CFG_STAR and its neighbours */
  const char *input_video_path;    /* video, image or .safetensors (`frames`, `latents`) to start from */
  double strength;                 /* how much of the schedule runs on it; 0 is 1 without LTXV_ZERO_STRENGTH */
  const ltxv_lora *loras;          /* an array, as conditions; added up. A key that matches nothing is BAD_WEIGHTS */
  const char *control_path;        /* clip or still that an in-context LoRA follows; read as the path of a condition */
  double control_strength;         /* 1 (also for 0) shows it to the model as it is, less mixes it with noise */
  int32_t lora_count;
  int32_t image_crf;               /* codec quality of "official" pictures, 1 to 51; 0: 29; LTXV_ZERO_IMAGE_CRF: no codec */
  const char *mask_path;           /* with input_video_path: image, clip or .safetensors (`mask`); white is generated anew */
  const char *image_prep;          /* "plain" (NULL), "official", "diffusers": how pictures become frames */
  const char *decode_noise_space;  /* "normalised" (NULL) as the official code, "raw" as diffusers */
  const char *text_padding;        /* "masked" (NULL), "attended" as three of diffusers' pipelines */
  const char *frame_positions;     /* NULL: the model's; "causal", "plain" */
  int32_t mask_blend;              /* rows and columns of latent cells around the mask that may change too */
  uint32_t outpaint;               /* nonzero: the input video is fitted inside, what it does not cover is generated */
  uint32_t composite;              /* nonzero: pixels that the mask keeps are copied from the input video */
  int32_t window_frames;           /* above 0: overlapping windows of so many frames; the prompt then holds one prompt
                                    * a window, separated by "|" */
  int32_t window_overlap;          /* frames a window shares with the one before; 0: 24 */
  int32_t pass_count;              /* 1 or 2; 0: two where the engine has an upscaler or the preset asks for one */
  double window_strength;          /* how closely those are kept; 0: 0.5 (LTXV_ZERO_WINDOW_STRENGTH: not at all) */
  double window_match;             /* how far statistics are moved to the first window's; 0: 0.25 (LTXV_ZERO_WINDOW_MATCH) */
  double window_eta;               /* fresh noise of the ancestral steps; 0: 1 (LTXV_ZERO_WINDOW_ETA: none) */
  const ltxv_second_pass *second_pass;
  const char *request_json;        /* an object as ltxv_generate_resolve makes it, files store it and `ltxv generate --request`
                                    * takes it: gives what the other fields leave unset. Of model, upscaler, device, dtype and
                                    * threads, which are the engine's, nothing is read. An unknown key is INVALID_ARGUMENT */
} ltxv_generate_options;

/** Generates one video; blocks. Any thread, several at once on one engine. On success the caller owns *out
 *  (ltxv_video_free). Errors: INVALID_ARGUMENT (before any heavy work), IO, BAD_WEIGHTS, UNSUPPORTED, OUT_OF_MEMORY,
 *  DEVICE, NUMERIC, CANCELLED. */
LTXV_API ltxv_status ltxv_generate(ltxv_engine *engine, const ltxv_generate_options *options, ltxv_video **out,
                                   ltxv_error *error) LTXV_NOEXCEPT;
/** As ltxv_generate, straight into a file (as ltxv_video_write); with window_frames, frames are written while later ones
 *  are still to be made, so that memory does not grow with the length. *out, which may be NULL, receives the settings
 *  that are stored in the file, as one JSON object. The file is complete or absent. Any thread. Errors: as ltxv_generate
 *  and ltxv_video_write. */
LTXV_API ltxv_status ltxv_generate_file(ltxv_engine *engine, const ltxv_generate_options *options, const char *path,
                                        ltxv_text **out, ltxv_error *error) LTXV_NOEXCEPT;
/** What ltxv_generate would do, as one JSON object with every value filled in. Quick. Any thread. Errors: as
 *  ltxv_generate. */
LTXV_API ltxv_status ltxv_generate_resolve(ltxv_engine *engine, const ltxv_generate_options *options, ltxv_text **out,
                                           ltxv_error *error) LTXV_NOEXCEPT;

/* ---- the stages one by one ----------------------------------------------------------------------------------- */

typedef struct ltxv_embed_options {
  uint32_t struct_size;
  int32_t max_text_tokens;
  const char *prompt; /* required, may be "" */
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
} ltxv_embed_options;
/** Text encoder alone: `prompt_embeds` f32 [1,S,D] and `prompt_attention_mask` i64 [1,S]. Any thread. */
LTXV_API ltxv_status ltxv_embed(ltxv_engine *engine, const ltxv_embed_options *options, ltxv_tensors **out,
                                ltxv_error *error) LTXV_NOEXCEPT;

typedef struct ltxv_encode_options {
  uint32_t struct_size;
  uint32_t reserved;
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
} ltxv_encode_options;
/** VAE encoder alone: `frames` f32 [1,3,T,H,W] in [-1,1] on the model's grid -> `latents` f32 [1,C,T,H,W], normalised
 *  posterior mean. `options` may be NULL. Any thread. */
LTXV_API ltxv_status ltxv_encode(ltxv_engine *engine, const ltxv_tensors *frames, const ltxv_encode_options *options,
                                 ltxv_tensors **out, ltxv_error *error) LTXV_NOEXCEPT;

typedef struct ltxv_upscale_options {
  uint32_t struct_size;
  uint32_t reserved;
  double adain; /* how far the result takes on mean and deviation of the given latents, 0 to 1 */
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
} ltxv_upscale_options;
/** The engine's upscalers alone, one after the other: `latents` f32 [1,C,T,H,W], normalised -> larger `latents`.
 *  `options` may be NULL. Errors: INVALID_ARGUMENT also when the engine was opened without upscalers. Any thread. */
LTXV_API ltxv_status ltxv_upscale(ltxv_engine *engine, const ltxv_tensors *latents, const ltxv_upscale_options *options,
                                  ltxv_tensors **out, ltxv_error *error) LTXV_NOEXCEPT;

typedef struct ltxv_decode_options {
  uint32_t struct_size;
  uint32_t zero_fields;     /* LTXV_ZERO_DECODE_TIMESTEP, LTXV_ZERO_DECODE_NOISE_SCALE; seed 0 needs no bit */
  double decode_timestep;   /* used by models with a timestep-conditioned decoder */
  double decode_noise_scale;
  uint64_t seed;
  const char *noise_path;   /* draws `decode`, `decoder_00`, ... by name */
  double frames_per_second; /* of the clip that results */
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
  const char *decode_noise_space; /* "normalised" (NULL) as the official code, "raw" as diffusers */
} ltxv_decode_options;
/** VAE decoder alone: `latents` f32 [1,C,T,H,W], normalised -> a clip. `options` may be NULL. Any thread. */
LTXV_API ltxv_status ltxv_decode(ltxv_engine *engine, const ltxv_tensors *latents, const ltxv_decode_options *options,
                                 ltxv_video **out, ltxv_error *error) LTXV_NOEXCEPT;

/* ---- video --------------------------------------------------------------------------------------------------- */

/** Reads an image, clip, `%04d` sequence or .safetensors (`frames`). Width and height both 0: as they are; both given:
 *  cropped around the centre to that aspect, then resized. frame_count: at most the first so many, 0: all. Any thread.
 *  Errors: INVALID_ARGUMENT, IO, UNSUPPORTED. */
LTXV_API ltxv_status ltxv_read_frames(const char *path, int32_t width_px, int32_t height_px, int32_t frame_count,
                                      ltxv_video **out, ltxv_error *error) LTXV_NOEXCEPT;
/** A clip from `frames` f32 [1,3,T,H,W] in [-1,1], for instance to write it. Errors: INVALID_ARGUMENT. */
LTXV_API ltxv_status ltxv_video_new(const ltxv_tensors *frames, double frames_per_second, ltxv_video **out,
                                    ltxv_error *error) LTXV_NOEXCEPT;

/** Set struct_size before the call. */
typedef struct ltxv_video_properties {
  uint32_t struct_size;
  int32_t frame_count;
  int32_t width_px;
  int32_t height_px;
  double frames_per_second;
} ltxv_video_properties;
LTXV_API ltxv_status ltxv_video_info(const ltxv_video *video, ltxv_video_properties *out,
                                     ltxv_error *error) LTXV_NOEXCEPT;

/** One picture: rows from top to bottom, 3 bytes (red, green, blue) a pixel. Set struct_size before the call. */
typedef struct ltxv_frame {
  uint32_t struct_size;
  int32_t index;
  int32_t width_px;
  int32_t height_px;
  int64_t stride_bytes;   /* from one row to the next */
  double time_seconds;    /* when it is shown: index / frames_per_second */
  const uint8_t *rgb;     /* valid until the next call of _next_frame or _rewind, or _free, on this video */
} ltxv_frame;
/** The next picture, starting with the first; LTXV_END after the last. One thread. */
LTXV_API ltxv_status ltxv_video_next_frame(ltxv_video *video, ltxv_frame *out, ltxv_error *error) LTXV_NOEXCEPT;
/** The next call of ltxv_video_next_frame gives the first picture again. One thread. */
LTXV_API ltxv_status ltxv_video_rewind(ltxv_video *video, ltxv_error *error) LTXV_NOEXCEPT;
/** `frames` f32 [1,3,T,H,W], before clamping to [-1,1], and `latents` f32 [1,C,T,H,W] where the clip was generated.
 *  Shares the memory of the video and outlives it. */
LTXV_API ltxv_status ltxv_video_tensors(const ltxv_video *video, ltxv_tensors **out, ltxv_error *error) LTXV_NOEXCEPT;
/** One JSON object: prompt, seed, every setting, model, version; the same that is stored in files. Valid until
 *  ltxv_video_free; NULL for NULL. */
LTXV_API const char *ltxv_video_metadata(const ltxv_video *video) LTXV_NOEXCEPT;

typedef struct ltxv_write_options {
  uint32_t struct_size;
  uint32_t reserved;
  double frames_per_second; /* 0: the clip's */
  ltxv_progress_fn on_progress;
  ltxv_log_fn on_log;
  void *user_data;
  const ltxv_cancel *cancel;
} ltxv_write_options;
/** Writes a file by extension: .mp4 .mkv .webm .gif .png (`%04d`: one file a frame, else a contact sheet)
 *  .safetensors. The file is complete or absent. `options` may be NULL. Errors: INVALID_ARGUMENT, IO, UNSUPPORTED,
 *  CANCELLED. */
LTXV_API ltxv_status ltxv_video_write(const ltxv_video *video, const char *path, const ltxv_write_options *options,
                                      ltxv_error *error) LTXV_NOEXCEPT;
LTXV_API void ltxv_video_free(ltxv_video *video) LTXV_NOEXCEPT;

/* ---- initialisers: inline, so that they record the sizeof the caller was compiled with ----------------------- */

#ifdef __cplusplus
#define LTXV_DEFINE_INIT(type)    \
  static inline type type##_init(void) { \
    type value = {};              \
    value.struct_size = (uint32_t)sizeof(type); \
    return value;                 \
  }
#else
#define LTXV_DEFINE_INIT(type)    \
  static inline type type##_init(void) { \
    type value = {0};             \
    value.struct_size = (uint32_t)sizeof(type); \
    return value;                 \
  }
#endif
LTXV_DEFINE_INIT(ltxv_error)
LTXV_DEFINE_INIT(ltxv_check_options)
LTXV_DEFINE_INIT(ltxv_convert_options)
LTXV_DEFINE_INIT(ltxv_tensor_view)
LTXV_DEFINE_INIT(ltxv_engine_options)
LTXV_DEFINE_INIT(ltxv_engine_properties)
LTXV_DEFINE_INIT(ltxv_condition)
LTXV_DEFINE_INIT(ltxv_lora)
LTXV_DEFINE_INIT(ltxv_second_pass)
LTXV_DEFINE_INIT(ltxv_generate_options)
LTXV_DEFINE_INIT(ltxv_embed_options)
LTXV_DEFINE_INIT(ltxv_encode_options)
LTXV_DEFINE_INIT(ltxv_upscale_options)
LTXV_DEFINE_INIT(ltxv_decode_options)
LTXV_DEFINE_INIT(ltxv_video_properties)
LTXV_DEFINE_INIT(ltxv_frame)
LTXV_DEFINE_INIT(ltxv_write_options)
#undef LTXV_DEFINE_INIT

#ifdef __cplusplus
}
#endif
#endif
