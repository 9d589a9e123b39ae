// Memory of large results, kept for the next ones. Pages that the system has to clear before they can be written cost
// as much as some of the ops; those of a result that nobody holds any more are clean enough.
#include <pybind11/numpy.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "bindings/bindings.h"
#include "core/huge_pages.h"

namespace physioclr {
namespace {

constexpr size_t kPage = 2 << 20;

struct Block {
  void* p;
  size_t bytes;
};

class Pool {
 public:
  Block take(size_t bytes) {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (size_t k = 0; k < free_.size(); ++k)
        if (free_[k].bytes == bytes) {
          const Block found = free_[k];
          free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(k));
          held_ -= bytes;
          return found;
        }
    }
    void* const p = std::aligned_alloc(kPage, bytes);
    if (!p) throw std::bad_alloc();
    advise_huge(p, static_cast<int64_t>(bytes));
    return {p, bytes};
  }
  void give(Block block) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (block.bytes > limit_) return std::free(block.p);
    shrink(limit_ - block.bytes);
    try {
      free_.push_back(block);
      held_ += block.bytes;
    } catch (const std::bad_alloc&) {
      std::free(block.p);
    }
  }
  void set_limit(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    limit_ = bytes;
    shrink(bytes);
  }
  size_t held() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return held_;
  }

 private:
  void shrink(size_t most) {  // the oldest first
    while (held_ > most) {
      held_ -= free_.front().bytes;
      std::free(free_.front().p);
      free_.erase(free_.begin());
    }
  }
  std::mutex mutex_;
  std::vector<Block> free_;
  size_t held_ = 0, limit_ = 0;
};

Pool& pool() {
  static auto* const one = new Pool;  // arrays may die after the statics of this file
  return *one;
}

}  // namespace

void bind_result_pool(py::module_& m) {
  m.def("set_result_pool", [](size_t bytes) { pool().set_limit(bytes); });
  m.def("result_pool_held", [] { return pool().held(); });
  // (bytes,) uint8, not initialised.
  m.def("pooled_bytes", [](size_t bytes) {
    auto* const block = new Block(pool().take(bytes));
    const py::capsule owner(block, [](void* p) {
      pool().give(*static_cast<Block*>(p));
      delete static_cast<Block*>(p);
    });
    return py::array_t<uint8_t>(static_cast<py::ssize_t>(bytes), static_cast<uint8_t*>(block->p), owner);
  });
}

}  // namespace physioclr
