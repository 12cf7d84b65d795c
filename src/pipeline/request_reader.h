#pragma once
// A request from the JSON object that to_json writes, so that what a file stores can be asked for again.
#include <string>

#include "pipeline/request.h"

namespace ltxv {

/// Fills in what `request` leaves unset; what it sets, stays. Keys are those of to_json; what a finished run says about itself and about
/// its engine (model, dtype, threads, …) is not looked at. A list of numbers may stand for a number where guidance has lists. Step count
/// and noise levels are one thing, of which the levels win, and so are frame count and seconds.
/// Errors: InvalidArgument: no JSON object, an unknown key, a value of another kind; each names the key.
void fill_from_json(const std::string& object, Request& request);

}  // namespace ltxv
