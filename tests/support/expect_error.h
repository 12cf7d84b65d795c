#pragma once
// Checks a failure by what a user sees: its code and words of its one line.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/error.h"

namespace ltxv::test {

template <class Action>
void expect_error(ErrorCode code, const std::string& words, Action&& action) {
  try {
    std::forward<Action>(action)();
    ADD_FAILURE() << "no error, expected one with: " << words;
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), code) << message;
    EXPECT_NE(message.find(words), std::string::npos) << "'" << message << "' lacks '" << words << "'";
    EXPECT_EQ(message.find('\n'), std::string::npos) << "more than one line: " << message;
  }
}

}  // namespace ltxv::test
