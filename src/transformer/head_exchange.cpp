#include "transformer/head_exchange.h"

#include "base/error.h"

namespace ltxv {

HeadExchange::HeadExchange(Ranks& ranks, Split rows, int64_t head_count)
    : rows_(rows), heads_{head_count, rows.count}, meeting_(ranks, rows.count), members_(static_cast<size_t>(rows.count)) {
  LTXV_ASSERT(rows.count <= rows.total && rows.count <= head_count, "more members than rows or heads");
}

int64_t HeadExchange::show(int64_t member, std::vector<at::Tensor> tensors) {
  Member& me = members_[static_cast<size_t>(member)];
  const int64_t turn = me.turn++ % 2;
  me.shown[turn] = std::move(tensors);
  meeting_.wait();
  me.shown[1 - turn].clear();  // everybody is here, so nobody reads those any more
  return turn;
}

at::Tensor HeadExchange::gathered(int64_t member, int64_t turn, size_t which, const Split& parts, int64_t unit, int64_t axis,
                                  const std::function<at::Tensor(const at::Tensor&)>& part) {
  Member& me = members_[static_cast<size_t>(member)];
  const at::Tensor& mine = me.shown[turn][which];
  auto shape = part(mine).sizes().vec();
  shape[static_cast<size_t>(axis)] = parts.total * unit;
  at::Tensor all = at::empty(shape, mine.options());
  // Each begins with its own, so that not all of them read from one.
  for (int64_t i = 0; i < parts.count; ++i) {
    const int64_t other = (member + i) % parts.count;
    const at::Tensor theirs = part(members_[static_cast<size_t>(other)].shown[turn][which]);
    all.narrow(axis, parts.begin(other) * unit, parts.size(other) * unit).copy_(theirs, /*non_blocking=*/true);
    if (other != member) me.bytes_received += static_cast<int64_t>(theirs.nbytes());
  }
  return all;
}

at::Tensor HeadExchange::attention(int64_t member, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Attend& attend) {
  const int64_t width = q.size(2) / heads_.total;
  const auto my_heads = [&](const at::Tensor& t) { return t.narrow(2, heads_.begin(member) * width, heads_.size(member) * width); };
  const auto my_rows = [&](const at::Tensor& t) { return t.narrow(1, rows_.begin(member), rows_.size(member)); };
  at::Tensor of_heads[3];
  const int64_t there = show(member, {q, k, v});
  for (size_t i = 0; i < 3; ++i) of_heads[i] = gathered(member, there, i, rows_, 1, 1, my_heads);
  const int64_t back = show(member, {attend(of_heads[0], of_heads[1], of_heads[2], heads_.size(member))});
  return gathered(member, back, 0, heads_, width, 2, my_rows);
}

}  // namespace ltxv
