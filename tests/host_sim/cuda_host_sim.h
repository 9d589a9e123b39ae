#pragma once
// Runs CUDA kernel bodies on host threads, so that their logic, their bounds and their barriers are tested without a GPU.
// One thread per CUDA thread, one block after the other; __shared__ becomes a static, which is then one copy per block.
// Under ThreadSanitizer a missing __syncthreads() shows as a data race, under AddressSanitizer a bad index as a bad access
// (every array of a test is its own heap block). Not covered: warp-synchronous code, the device's memory model, limits.
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

namespace hostsim {

// As on the device, a thread that has left the kernel no longer counts at the barrier.
class BlockBarrier {
 public:
  explicit BlockBarrier(unsigned n) : expected_(n) {}
  void wait() {
    std::unique_lock lock(mutex_);
    const unsigned long phase = phase_;
    if (++arrived_ == expected_) return release();
    changed_.wait(lock, [&] { return phase_ != phase; });
  }
  void leave() {
    std::unique_lock lock(mutex_);
    if (--expected_ == arrived_ && arrived_ > 0) release();
  }

 private:
  void release() {
    arrived_ = 0;
    ++phase_;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned expected_, arrived_ = 0;
  unsigned long phase_ = 0;
};

inline thread_local BlockBarrier* barrier = nullptr;

template <class Kernel, class... Args>
void launch(Kernel kernel, dim3 grid, dim3 block, Args... args) {
  gridDim = grid;
  blockDim = block;
  const unsigned threads = block.x * block.y * block.z, blocks = grid.x * grid.y * grid.z;
  std::vector<std::unique_ptr<BlockBarrier>> barriers;
  for (unsigned b = 0; b < blocks; ++b) barriers.push_back(std::make_unique<BlockBarrier>(threads));
  BlockBarrier between(threads);
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t)
    pool.emplace_back([&, t] {
      threadIdx = dim3{t % block.x, t / block.x % block.y, t / (block.x * block.y)};
      for (unsigned b = 0; b < blocks; ++b) {
        blockIdx = dim3{b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        barrier = barriers[b].get();
        kernel(args...);
        barrier->leave();
        between.wait();  // the next block reuses the shared memory
      }
    });
  for (auto& thread : pool) thread.join();
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

#ifdef PHYSIOCLR_BREAK_BARRIER  // the test of the harness: every barrier gone
inline void __syncthreads() {}
#else
inline void __syncthreads() { hostsim::barrier->wait(); }
#endif
