"""How the scalar functions are compiled, sums, and the two operations that every target must have.

max() and min() of two numbers do not compile for CUDA in every Numba (in 0.68 its own target refuses them, the
numba-cuda package takes them), so the scalar code has its own. Numba's cache looks at the text of the caller's file
alone: after a change here remove the `__pycache__` beside this file.
"""

from numba import njit

jit = njit(nogil=True, error_model="numpy")
# Sums that the compiler may reorder, so that it uses SIMD. Only plain sums: where it may reorder, it also takes the
# d - d inside math.isfinite for 0, NaN or not.
jit_sum = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@jit
def larger(a, b):
    return a if a > b else b


@jit
def smaller(a, b):
    return a if a < b else b


@jit_sum
def total_of(v):
    total = 0.0
    for i in range(len(v)):
        total += v[i]
    return total


@jit
def prefix_sums(v, n, s):
    """s[i] = the sum of v[:i] for i = 0 .. n. Four quarters at a time: one sum would wait for the sum before it."""
    m = n // 4
    v0, v1, v2, v3 = v[:m], v[m : 2 * m], v[2 * m : 3 * m], v[3 * m : 4 * m]
    s0, s1, s2, s3 = s[1 : m + 1], s[m + 1 : 2 * m + 1], s[2 * m + 1 : 3 * m + 1], s[3 * m + 1 : 4 * m + 1]
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(m):
        a += v0[i]
        b += v1[i]
        c += v2[i]
        d += v3[i]
        s0[i], s1[i], s2[i], s3[i] = a, b, c, d
    b += a
    c += b
    for i in range(m):
        s1[i] += a
        s2[i] += b
        s3[i] += c
    s[0] = 0.0
    for i in range(4 * m, n):
        s[i + 1] = s[i] + v[i]
