"""Compiles every kernel of `ops/_numba/cuda.py` to PTX, without a GPU: python numba_ptx.py CUDA_HOME

Prints the name and the size of each. CUDA_HOME needs nvvm/lib64/libnvvm.so and nvvm/libdevice.
"""

import os
import sys
import time

os.environ["CUDA_HOME"] = sys.argv[1]

import numba.cuda.dispatcher as dispatcher
from numba import cuda, float32, float64, int32, int64, types, uint8

from physioclr.ops._numba import cuda as kernels


class Device:  # what the dispatcher asks the driver for when one device function calls another
    compute_capability = (9, 0)


dispatcher.get_current_device = Device


def array(dtype, ndim, layout="C"):
    return types.Array(dtype, ndim, layout)


ECG, PEAKS, LEADS = array(float32, 3), array(int32, 2), array(int64, 1)
SIGNATURES = {
    "rpeaks_kernel": (array(int64, 2), int64, PEAKS),
    "mean_lead_kernel": (ECG, ECG),
    "delineate_kernel": (
        *(ECG, LEADS, PEAKS, float64, array(int32, 4), array(float64, 3), array(float64, 3)),
        *(array(float64, 2), array(int32, 2), array(float64, 3), array(int64, 3)),
    ),
    "consensus_kernel": (array(int32, 4), array(float64, 2)),
    "paced_kernel": (ECG, PEAKS, array(uint8, 2)),
    "features_kernel": (
        *(ECG, LEADS, PEAKS, array(uint8, 2), array(int32, 4), float64, int64, array(float32, 1)),
        *(array(float32, 4), ECG),
    ),
    "paced_segments_kernel": (PEAKS, array(uint8, 2), float64, array(types.boolean, 2)),
    "fill_gaps_kernel": (array(float32, 2), array(float32, 2), PEAKS),
    "resample_kernel": (array(float32, 2), PEAKS, array(float32, 1), int64, int64, array(float32, 2)),
    "rescale_rpeaks_kernel": (PEAKS, float64, int64, PEAKS),
}
for name, signature in SIGNATURES.items():
    start = time.perf_counter()
    ptx, _ = cuda.compile_ptx(
        getattr(kernels, name).py_func, types.void(*signature), device=False, abi="numba", cc=(9, 0)
    )
    assert ".entry" in ptx and "malloc" not in ptx, name
    print(f"{name} {len(ptx)} {time.perf_counter() - start:.1f} s")
missing = {k for k in vars(kernels) if k.endswith("_kernel")} - set(SIGNATURES)
assert not missing, missing
