"""Delineation and features: scalar functions that Numba compiles for the CPU (`delineate`, `features`, over records, on
the threads of `pool`) and for CUDA (`cuda`, launched by `gpu`). Nothing here knows the ops above it.

Imported by an op when it is called: Numba costs most of a second.
"""
