"""How the scalar functions are compiled, and the two operations that every target must have.

max() and min() of two numbers do not compile for CUDA in every Numba (in 0.68 its own target refuses them, the
numba-cuda package takes them), so the scalar code has its own. Numba's cache looks at the text of the caller's file
alone: after a change here remove the `__pycache__` beside this file.
"""

from numba import njit

jit = njit(nogil=True, error_model="numpy")


@jit
def larger(a, b):
    return a if a > b else b


@jit
def smaller(a, b):
    return a if a < b else b
