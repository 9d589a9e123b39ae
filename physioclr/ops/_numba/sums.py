"""Sums of float32 in an order of their own, in which csrc/core/features_beat.h can use vectors: 32 lanes, each of which
adds every 32nd term, then halves of the lanes are added until one is left. Compiled by Numba."""

import numpy as np

from .scalar import jit

LANES = 32


@jit
def total_lane(w, lane):
    total = np.float32(0.0)
    for i in range(lane, w.size, LANES):
        total += w[i]
    return total


@jit
def four_totals(w, lane):
    a, b = total_lane(w, lane) + total_lane(w, lane + 16), total_lane(w, lane + 8) + total_lane(w, lane + 24)
    return a + b


@jit
def sum_of(w):
    a, b = four_totals(w, 0) + four_totals(w, 4), four_totals(w, 2) + four_totals(w, 6)
    c, d = four_totals(w, 1) + four_totals(w, 5), four_totals(w, 3) + four_totals(w, 7)
    return (a + b) + (c + d)


@jit
def product_lane(u, mean_u, v, mean_v, lane):
    total = np.float32(0.0)
    for i in range(lane, u.size, LANES):
        total += (u[i] - mean_u) * (v[i] - mean_v)
    return total


@jit
def four_products(u, mean_u, v, mean_v, lane):
    a = product_lane(u, mean_u, v, mean_v, lane) + product_lane(u, mean_u, v, mean_v, lane + 16)
    b = product_lane(u, mean_u, v, mean_v, lane + 8) + product_lane(u, mean_u, v, mean_v, lane + 24)
    return a + b


@jit
def sum_of_products(u, mean_u, v, mean_v):
    a = four_products(u, mean_u, v, mean_v, 0) + four_products(u, mean_u, v, mean_v, 4)
    b = four_products(u, mean_u, v, mean_v, 2) + four_products(u, mean_u, v, mean_v, 6)
    c = four_products(u, mean_u, v, mean_v, 1) + four_products(u, mean_u, v, mean_v, 5)
    d = four_products(u, mean_u, v, mean_v, 3) + four_products(u, mean_u, v, mean_v, 7)
    return (a + b) + (c + d)


@jit
def is_level(w):
    for i in range(1, w.size):
        if w[i] != w[0]:
            return False
    return True
