// The smallest C++20 program: prompt in, video out, and the frames one by one.
//
//   c++ -std=c++20 main.cpp $(pkg-config --cflags --libs ltxv) -o minimal_cpp        (against an installed libltxv)
//   ./minimal_cpp "a red circle moves to the right on a black background" out.mp4 [MODEL]
#include <iostream>
#include <ltxv/ltxv.hpp>

int main(int argc, char** argv) try {
  const std::string prompt = argc > 1 ? argv[1] : "a red circle moves to the right on a black background";
  const std::string output = argc > 2 ? argv[2] : "out.mp4";

  const ltxv::engine engine({.model = argc > 3 ? argv[3] : "shapes"});
  ltxv::video video = engine.generate({.prompt = prompt, .seed = 7}, {.on_progress = [](const ltxv::progress& p) {
                                        if (p.stage == ltxv::stage::denoise)
                                          std::cerr << "step " << p.step << " of " << p.step_count << "\n";
                                        return true;  // false would stop the run
                                      }});
  video.write(output);

  for (const ltxv::frame& frame : video) {
    uint64_t sum = 0;
    for (const uint8_t value : frame.rgb) sum += value;
    std::cout << "frame " << frame.index << " at " << frame.time_seconds << " s: mean brightness "
              << sum / frame.rgb.size() << "\n";
  }
} catch (const ltxv::error& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
