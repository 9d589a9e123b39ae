#pragma once
namespace physioclr {
// Threads for the next parallel loop: pass it as num_threads(threads()) to every `omp parallel`.
// A forked child (a DataLoader worker) gets 1, because a team started before the fork does not survive it.
int threads() noexcept;
void set_threads(int n) noexcept;
}  // namespace physioclr
