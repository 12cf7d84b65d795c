// Threads that meet: nobody passes early, errors reach the caller, and nobody is left waiting.
#include "base/ranks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <stdexcept>
#include <string>

namespace ltxv {
namespace {

TEST(Ranks, EveryRankWorksOnceARoundAndRankZeroIsTheCaller) {
  Ranks ranks(4);
  for (int round = 0; round < 50; ++round) {
    std::vector<int> seen(4);
    std::thread::id first;
    ranks.run([&](int rank) {
      ++seen[rank];
      if (rank == 0) first = std::this_thread::get_id();
    });
    EXPECT_EQ(seen, std::vector<int>(4, 1));
    EXPECT_EQ(first, std::this_thread::get_id());
  }
}

TEST(Ranks, WhatWasWrittenBeforeAMeetingIsReadBehindIt) {
  constexpr int kCount = 4, kTurns = 500;
  Ranks ranks(kCount);
  Ranks::Meeting meeting(ranks, kCount);
  std::vector<int> written[2] = {std::vector<int>(kCount), std::vector<int>(kCount)};  // not atomic on purpose
  std::atomic<int> wrong{0};
  ranks.run([&](int rank) {
    std::mt19937 random(rank);
    for (int turn = 0; turn < kTurns; ++turn) {
      if (random() % 8 == 0) std::this_thread::yield();
      written[turn % 2][rank] = turn * kCount + rank;
      meeting.wait();
      for (int other = 0; other < kCount; ++other) wrong += written[turn % 2][other] != turn * kCount + other;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Ranks, MeetingsOfSomeAreApart) {
  Ranks ranks(4);
  Ranks::Meeting even(ranks, 2), odd(ranks, 2);
  std::atomic<int> passed{0};
  ranks.run([&](int rank) {
    // The even ones meet ten times before the odd ones do once.
    for (int i = 0; i < (rank % 2 ? 1 : 10); ++i) (rank % 2 ? odd : even).wait();
    ++passed;
  });
  EXPECT_EQ(passed, 4);
}

TEST(Ranks, AnErrorOfAnyRankEndsTheOthersAndIsThrown) {
  Ranks ranks(3);
  for (int failing = 0; failing < 3; ++failing) {
    Ranks::Meeting meeting(ranks, 3);
    std::atomic<int> passed{0};
    try {
      ranks.run([&](int rank) {
        meeting.wait();
        if (rank == failing) throw std::runtime_error("rank " + std::to_string(rank));
        meeting.wait();
        ++passed;
      });
      ADD_FAILURE() << "no error";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "rank " + std::to_string(failing));
    }
    EXPECT_EQ(passed, 0);
    // And they work on.
    std::atomic<int> count{0};
    ranks.run([&](int) { ++count; });
    EXPECT_EQ(count, 3);
  }
}

TEST(Split, PartsAreRunsOfNearlyEqualLength) {
  for (int64_t total = 1; total < 40; ++total)
    for (int64_t count = 1; count <= total && count < 9; ++count) {
      const Split split{total, count};
      EXPECT_EQ(split.begin(0), 0);
      EXPECT_EQ(split.begin(count), total);
      for (int64_t rank = 0; rank < count; ++rank) {
        EXPECT_GE(split.size(rank), total / count);
        EXPECT_LE(split.size(rank), total / count + 1);
      }
    }
}

}  // namespace
}  // namespace ltxv
