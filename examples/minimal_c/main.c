/* The smallest C99 program: prompt in, video out.
 *
 *   cc -std=c99 main.c $(pkg-config --cflags --libs ltxv) -o minimal_c        (against an installed libltxv)
 *   ./minimal_c "a red circle moves to the right on a black background" out.mp4 [MODEL]
 */
#include <ltxv/ltxv.h>
#include <stdio.h>

static int32_t show_progress(const ltxv_progress *p, void *user_data) {
  (void)user_data;
  if (p->stage == LTXV_STAGE_DENOISE) fprintf(stderr, "step %d of %d\n", (int)p->step, (int)p->step_count);
  return 0; /* anything else would stop the run */
}

int main(int argc, char **argv) {
  ltxv_error error = ltxv_error_init();
  ltxv_engine_options open = ltxv_engine_options_init();
  ltxv_generate_options ask = ltxv_generate_options_init();
  ltxv_engine *engine = NULL;
  ltxv_video *video = NULL;
  const char *output = argc > 2 ? argv[2] : "out.mp4";
  int failed;

  open.model = argc > 3 ? argv[3] : "shapes"; /* a bundled name, or a folder in diffusers' layout */
  ask.prompt = argc > 1 ? argv[1] : "a red circle moves to the right on a black background";
  ask.seed = 7;
  ask.on_progress = show_progress; /* every field that stays 0 takes the model's preset */

  failed = ltxv_engine_open(&open, &engine, &error) != LTXV_OK || ltxv_generate(engine, &ask, &video, &error) != LTXV_OK ||
           ltxv_video_write(video, output, NULL, &error) != LTXV_OK;
  if (failed) {
    fprintf(stderr, "%s\n", error.message);
  } else {
    ltxv_video_properties facts = ltxv_video_properties_init();
    ltxv_video_info(video, &facts, NULL);
    printf("%s: %d frames, %dx%d\n", output, (int)facts.frame_count, (int)facts.width_px, (int)facts.height_px);
  }
  ltxv_video_free(video); /* NULL is fine */
  ltxv_engine_free(engine);
  return failed;
}
