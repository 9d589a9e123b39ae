#pragma once
// Runs CUDA kernel bodies on host threads, so that their logic, their bounds and their barriers are tested without a
// GPU. One thread per CUDA thread, one block after the other; __shared__ becomes a static, which is then one copy per
// block. Under ThreadSanitizer a missing __syncthreads() or __syncwarp() shows as a data race, under AddressSanitizer a
// bad index as a bad access (every array of a test, and dynamic shared memory, is its own heap block). A barrier that
// not all threads reach, a mask that does not fit and a shuffle from an absent lane end the test with a message. With
// HOSTSIM_FIBERS defined the threads take turns on one host thread: no race is seen, but many records are quick.
// HOSTSIM_BLOCKS=reverse runs the blocks from the last to the first: a block that needs another one's result then
// fails. Not covered: two blocks that write one element in either order alike, the device's memory model, its limits.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "cuda_host_device.h"

namespace hostsim {

// Calls body(t) for t = 0 .. threads - 1, all at the same time.
#ifdef HOSTSIM_FIBERS
inline void run_threads(unsigned threads, const std::function<void(unsigned)>& body) {
  Fibers fibers(threads, body);
  bool left = true;
  while (left) {
    left = false;
    progress = false;
    for (unsigned t = 0; t < threads; ++t) {
      if (fibers.done(t)) continue;
      left = true;
      fibers.resume(t);
    }
    if (left && !progress) fail("deadlock: a barrier that not all threads reach");
  }
}
#else
inline void run_threads(unsigned threads, const std::function<void(unsigned)>& body) {
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t) pool.emplace_back(body, t);
  for (auto& thread : pool) thread.join();
}
#endif

// kernel<<<grid, block, shared_bytes>>>(args...)
template <class Kernel, class... Args>
void launch_shared(Kernel kernel, dim3 grid, dim3 block_dim, size_t shared_bytes, Args... args) {
  gridDim = grid;
  blockDim = block_dim;
  const unsigned threads = block_dim.x * block_dim.y * block_dim.z;
  const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
  if (threads == 0 || threads > 1024 || blocks == 0)
    fail("a launch without threads, or with more than 1024 in a block");
  const char* order = std::getenv("HOSTSIM_BLOCKS");
  const bool reverse = order != nullptr && std::strcmp(order, "reverse") == 0;
  Events events;
  Meeting between;  // of all threads, whether they have left the kernel or not
  run_threads(threads, [=, &events, &between](unsigned t) {
    for (uint64_t k = 0; k < blocks; ++k) {
      const uint64_t b = reverse ? blocks - 1 - k : k;
      thread_in_block = t;
      threadIdx = dim3{t % block_dim.x, t / block_dim.x % block_dim.y, t / (block_dim.x * block_dim.y)};
      blockIdx = dim3{static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                      static_cast<unsigned>(b / grid.x / grid.y)};
      if (t == 0) block.begin(threads, shared_bytes);
      meet<true>(between, events, [=] { return threads; });
      kernel(args...);
      block.leave(t);
      meet<true>(between, events, [=] { return threads; });
    }
  });
}

// kernel<<<grid, block>>>(args...)
template <class Kernel, class... Args>
void launch(Kernel kernel, dim3 grid, dim3 block_dim, Args... args) {
  launch_shared(kernel, grid, block_dim, 0, args...);
}

// Heap memory of exactly n elements, poisoned with a pattern that no kernel writes, so unwritten results are found.
template <class T>
class Array {
 public:
  explicit Array(int64_t n) : n_(n), data_(static_cast<T*>(std::malloc(n * sizeof(T) + (n == 0)))) {
    unsigned char* bytes = reinterpret_cast<unsigned char*>(data_);
    for (size_t i = 0; i < n * sizeof(T); ++i) bytes[i] = 0xA5;
  }
  ~Array() { std::free(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* get() { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  int64_t size() const { return n_; }

 private:
  int64_t n_;
  T* data_;
};

// Deterministic numbers in [-1, 1).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  double operator()() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<double>(state_ >> 33) / 1073741824.0 - 1.0;
  }

 private:
  uint64_t state_;
};

inline int failures = 0;
inline void expect_near(double got, double want, double tolerance, const char* what, int64_t at) {
  if (std::fabs(got - want) <= tolerance || got == want) return;
  if (++failures < 10) std::printf("%s[%lld]: kernel %.9g, CPU %.9g\n", what, static_cast<long long>(at), got, want);
}
inline int finish(const char* name) {
  std::printf("%s: %d differences\n", name, failures);
  return failures ? 1 : 0;
}

}  // namespace hostsim
