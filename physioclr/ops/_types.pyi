# The structured results with the type of their arrays as a parameter: ndarray in, RPeaks[ndarray] out. At run time they
# are plain NamedTuples (torch's pytrees before 2.7 do not know generic ones).
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

# Arrays of one library, whatever their shape and dtype, which differ between arguments and results.
ArrayT = TypeVar("ArrayT", np.ndarray[Any, np.dtype[Any]], Tensor)

class RPeaks(NamedTuple, Generic[ArrayT]):
    index: ArrayT
    count: ArrayT
    quality: ArrayT

class Delineation(NamedTuple, Generic[ArrayT]):
    p_on: ArrayT
    p_peak: ArrayT
    p_off: ArrayT
    qrs_on: ArrayT
    qrs_off: ArrayT
    t_on: ArrayT
    t_peak: ArrayT
    t_off: ArrayT
    def intervals(self, fs: float) -> Intervals[ArrayT]: ...

class Intervals(NamedTuple, Generic[ArrayT]):
    p: ArrayT
    pr: ArrayT
    qrs: ArrayT
    qt: ArrayT
    t: ArrayT

class Neighbors(NamedTuple, Generic[ArrayT]):
    index: ArrayT
    similarity: ArrayT

def rpeaks_index(rpeaks: Any) -> Any: ...
def default_max_beats(samples: int, fs: float) -> int: ...
