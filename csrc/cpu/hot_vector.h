#pragma once
// For hot files (cpu/isa.h): a std::vector of their own. That of std::allocator is a type that other files share, and
// so are the functions that grow it.
#include <cstddef>
#include <new>
#include <vector>

namespace physioclr::cpu {
namespace {

constexpr std::size_t kLine = 64;  // bytes of a cache line and of the widest register: what does not straddle is faster

template <class T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(kLine))); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t(kLine)); }
  bool operator==(const LineAllocator&) const { return true; }
  bool operator!=(const LineAllocator&) const { return false; }
};
template <class T>
using Vector = std::vector<T, LineAllocator<T>>;

}  // namespace
}  // namespace physioclr::cpu
