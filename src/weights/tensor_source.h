#pragma once
// Files that hold named tensors, behind one interface. Torch-free: parsers are small, fast to build and fuzzed on their own.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ltxv {

/// Element types as stored in files. From q4_0 on, elements are codes that share their scales a block at a time (GGUF).
enum class StoredType {
  f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u8, boolean,
  q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k
};

/// "F32", "BF16", "F8_E4M3", "Q4_K", ...: the spelling of the formats.
std::string_view stored_type_name(StoredType type);
/// The type of that name, if there is one.
std::optional<StoredType> stored_type_named(std::string_view name);

/// What is stored as one piece along the last axis: {1, 4} for F32, {32, 34} for Q8_0.
struct StoredBlock {
  int64_t elements, bytes;
};
StoredBlock stored_block(StoredType type);
inline bool is_block_type(StoredType type) { return stored_block(type).elements > 1; }
/// Bytes of one element. Errors: InternalError for a block type.
int64_t stored_type_size(StoredType type);

/// One tensor of a source. `data` stays valid while the source lives; it may be unaligned.
struct TensorEntry {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;      ///< row-major, empty for a scalar
  const std::byte* data = nullptr;
  uint64_t byte_count = 0;
  std::string file;                ///< the file it lies in, for messages
  bool mapped = false;             ///< `data` lies in a mapped file: let_go_of_pages (file_bytes.h) may be called on it
};

/// Read-only and safe to share between threads after construction.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// All tensors, sorted by name.
  virtual const std::vector<TensorEntry>& entries() const = 0;
  /// Metadata of the file (safetensors `__metadata__`; the strings and numbers of a GGUF file); empty where there is none.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  /// The path the source was opened with.
  virtual const std::string& path() const = 0;
  /// nullptr when there is no tensor of that name.
  const TensorEntry* find(std::string_view name) const;
};

/// How a file's bytes get into memory. Mapping costs no copy, but a file cut short by another process while it is mapped kills
/// the host with SIGBUS; copying costs the memory and cannot.
enum class FileAccess { map, copy };

/// Opens a safetensors or GGUF file, told apart by their first bytes, or an `*.index.json` with its shards (all in the index's
/// own folder).
/// Errors: IoError (cannot be read, shard missing), BadWeights (any rule of the format broken; names file and rule),
///         Unsupported (an element type, or a kind of file, this library does not read).
std::shared_ptr<const TensorSource> open_tensors(const std::string& path, FileAccess access = FileAccess::map);

/// Opens the weights in a component folder of a diffusers or transformers layout: `<stem>.safetensors`,
/// `<stem>.safetensors.index.json`, for the stems "diffusion_pytorch_model" and "model" in this order.
/// Errors: as open_tensors; IoError naming the folder when it holds none of them.
std::shared_ptr<const TensorSource> open_component_folder(const std::string& folder, FileAccess access = FileAccess::map);

/// One tensor to be written.
struct TensorToWrite {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;
  const void* data = nullptr;  ///< contiguous, row-major
};

/// Writes a safetensors file; complete or absent (written beside it, synced, then renamed).
/// Errors: IoError naming the path and the reason (no such folder, no space left, ...).
void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace ltxv
