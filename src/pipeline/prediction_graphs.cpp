#include "pipeline/prediction_graphs.h"

#include <algorithm>

#include "base/error.h"

namespace ltxv {
namespace {

// Everything that a recording fixes: sizes, and which blocks are perturbed how.
std::vector<int64_t> key_of(const StepInputs& in) {
  std::vector<int64_t> key = {in.tokens.size(1), in.levels.values.size(0), in.levels.rows.index.defined() ? 1 : 0, in.levels.token_count,
                              in.rope.cos.size(0), in.rope.cos.size(1)};
  for (const PromptContext* prompt : in.prompts) key.push_back(prompt->blocks.empty() ? 0 : prompt->blocks.front().k.size(1));
  if (in.perturbation) {
    key.push_back(-1 - static_cast<int64_t>(in.perturbation->mode));
    key.insert(key.end(), in.perturbation->blocks.begin(), in.perturbation->blocks.end());
  }
  return key;
}

PromptContext copy_of(const PromptContext& prompt) {
  PromptContext out;
  for (const PromptKeysValues& block : prompt.blocks) out.blocks.push_back({block.k.clone(), block.v.clone()});
  return out;
}

}  // namespace

PredictionGraphs::Lease PredictionGraphs::lease() {
  Lease lease;
  lease.lock_ = std::unique_lock(mutex_, std::try_to_lock);
  if (lease) lease.run_ = ++runs_;
  return lease;
}

PredictionGraphs::Entry& PredictionGraphs::entry_for(const StepInputs& in) {
  constexpr size_t kMost = 4;  // a run uses one, two with guidance that changes; each keeps copies of prompts and tables
  const auto key = key_of(in);
  const auto same = [&](const auto& entry) { return entry->key == key; };
  auto found = std::find_if(entries_.begin(), entries_.end(), same);
  if (found == entries_.end()) {
    if (entries_.size() == kMost) {
      const auto older = [](const auto& a, const auto& b) { return a->last_used < b->last_used; };
      entries_.erase(std::min_element(entries_.begin(), entries_.end(), older));
    }
    entries_.push_back(std::make_unique<Entry>());
    found = entries_.end() - 1;
    (*found)->key = key;
  }
  (*found)->last_used = ++clock_;
  return **found;
}

void PredictionGraphs::fill(Entry& e, const StepInputs& in, int64_t run) {
  e.tokens.copy_(in.tokens);
  e.levels.values.copy_(in.levels.values);
  if (e.levels.rows.index.defined()) e.levels.rows.index.copy_(in.levels.rows.index);
  if (e.filled_for_run == run) return;
  e.rope.cos.copy_(in.rope.cos);
  e.rope.sin.copy_(in.rope.sin);
  if (e.rope.rows.defined()) e.rope.rows.copy_(in.rope.rows);
  for (size_t p = 0; p < e.prompts.size(); ++p)
    for (size_t b = 0; b < e.prompts[p].blocks.size(); ++b) {
      e.prompts[p].blocks[b].k.copy_(in.prompts[p]->blocks[b].k);
      e.prompts[p].blocks[b].v.copy_(in.prompts[p]->blocks[b].v);
    }
  e.filled_for_run = run;
}

void PredictionGraphs::record(Entry& e, const Transformer& transformer, const StepInputs& in, const RunContext& run) {
  e.tokens = in.tokens.clone();
  e.levels = in.levels;
  e.levels.values = in.levels.values.clone();
  if (in.levels.rows.index.defined()) e.levels.rows.index = in.levels.rows.index.clone();
  e.rope = {in.rope.cos.clone(), in.rope.sin.clone(), in.rope.rows.defined() ? in.rope.rows.clone() : at::Tensor()};
  e.prompts.clear();
  for (const PromptContext* prompt : in.prompts) e.prompts.push_back(copy_of(*prompt));
  StepInputs fixed{.tokens = e.tokens, .levels = e.levels, .rope = e.rope, .prompts = {}, .perturbation = in.perturbation};
  for (const PromptContext& prompt : e.prompts) fixed.prompts.push_back(&prompt);

  ops::RecordedWork* shared = nullptr;
  for (const auto& other : entries_)
    if (other->work) shared = other->work.get();
  auto work = make_ ? make_() : ops::cuda_services()->new_recording();
  try {
    work->begin(shared);
    e.out = transformer.forward(fixed, run);
    work->end();
  } catch (...) {
    work->give_up();
    throw;
  }
  e.work = std::move(work);
}

at::Tensor PredictionGraphs::forward(const Transformer& transformer, const Lease& lease, const StepInputs& in, const RunContext& run) {
  LTXV_ASSERT(lease, "recorded predictions without their lease");
  Entry& e = entry_for(in);
  ++e.calls;
  // The first call also makes libraries choose their kernels and allocate, which cannot be recorded.
  if (e.failed || e.calls == 1) return transformer.forward(in, run);
  if (!e.work) {
    try {
      record(e, transformer, in, run);
    } catch (const c10::Error& error) {
      const std::string message = error.msg();
      run.log(LogLevel::warning, text("a prediction could not be recorded and is computed step by step: ", message.substr(0, message.find('\n'))));
      e = Entry{.key = e.key, .calls = e.calls, .last_used = e.last_used, .failed = true};
      return transformer.forward(in, run);
    }
  }
  run.check_cancelled();
  fill(e, in, lease.run_);
  e.work->replay();
  return e.out;
}

}  // namespace ltxv
