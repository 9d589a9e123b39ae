#pragma once
// No exception may leave a parallel region: it would end the process. A Guard keeps the first of any thread, most often
// a want of memory for a long record's scratch; from then on it runs nothing, and after the region it is raised.
//
//   Guard guard;
//   #pragma omp parallel
//   { std::optional<Scratch> s;
//     guard([&] { s.emplace(call); });
//     #pragma omp for
//     for (each record) guard([&] { measure(*s); }); }
//   guard.raise();
#include <atomic>
#include <exception>

namespace physioclr {

class Guard {
 public:
  Guard() noexcept;
  ~Guard();
  template <class F>
  void operator()(F&& f) noexcept {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      f();
    } catch (...) {
      keep();
    }
  }
  void raise() const;

 private:
  void keep() noexcept;  // the exception that is being handled
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace physioclr
