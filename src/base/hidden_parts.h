#pragma once
// What is being written lies under a hidden name beside its place until it is complete: ".NAME.ltxv-PID-COUNT.part". Its owner holds a
// lock on it, so that the next writer of the same place can tell what a killed process left behind from what another one is still
// writing, and removes only the former. A file system without locks (some network mounts) only loses that clean-up.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace ltxv {

/// ".NAME.ltxv-", what hidden names of this target begin with. Cut so that the longest legal name leaves room for the rest.
inline std::string hidden_stem(const std::string& target_name) { return "." + target_name.substr(0, 180) + ".ltxv-"; }

/// Marks an open file or folder as being written, until it is closed. False when another process has it, or without locks.
inline bool lock_part(int descriptor) { return ::flock(descriptor, LOCK_EX | LOCK_NB) == 0; }

/// Between creation and lock, another writer may have taken the new one for an abandoned one.
inline bool part_is_there(int descriptor, const std::string& path) {
  struct stat mine = {}, named = {};
  return ::fstat(descriptor, &mine) == 0 && ::stat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

/// Removes hidden files and folders of the same target whose owner is gone. Best effort: a leftover is no reason to fail.
inline void remove_abandoned_parts(const std::string& folder, const std::string& stem) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(stem) || !name.ends_with(".part")) continue;
    const int descriptor = ::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) continue;
    std::error_code not_removed;
    if (lock_part(descriptor)) fs::remove_all(entry->path(), not_removed);
    ::close(descriptor);
  }
}

}  // namespace ltxv
