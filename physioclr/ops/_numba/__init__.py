"""Delineation and features on a GPU: scalar functions that Numba compiles for CUDA (`cuda`, launched by `gpu`).

On a CPU csrc/core/waves_*.h and features_*.h do the same, with the same bits; for the tests that compare,
`delineate_range`, `features_range` and their like compile for the CPU too. Nothing here knows the ops above it.

Imported by an op when it is called: Numba costs most of a second.
"""
