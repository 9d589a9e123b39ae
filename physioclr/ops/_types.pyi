# The structured results with the type of their arrays as a parameter: ndarray in, RPeaks[ndarray] out. At run time they
# are plain NamedTuples (torch's pytrees before 2.7 do not know generic ones).
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

NumPyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Arrays of one library, whatever their shape and dtype, which differ between arguments and results.
ArrayT = TypeVar("ArrayT", NumPyArray, Tensor)
_A = TypeVar("_A", bound=NumPyArray | Tensor)

# What may stand beside the first array of a call: whatever can be read as an array of its library.
Values: TypeAlias = Tensor | npt.ArrayLike
Peaks: TypeAlias = RPeaks[NumPyArray] | RPeaks[Tensor] | Values

class Table(Protocol):
    """A data frame of pandas or polars, a table of Arrow."""

    @property
    def columns(self) -> Any: ...

# A field called index or count hides the method of tuple, as it does at run time.
class RPeaks(NamedTuple, Generic[_A]):
    index: _A  # type: ignore[assignment]
    count: _A  # type: ignore[assignment]
    quality: _A
    def lists(self) -> list[npt.NDArray[np.int64]]: ...
    def expected_f1(self) -> _A: ...

class Delineation(NamedTuple, Generic[_A]):
    p_on: _A
    p_peak: _A
    p_off: _A
    qrs_on: _A
    qrs_off: _A
    t_on: _A
    t_peak: _A
    t_off: _A
    def intervals(self, fs: float) -> Intervals[_A]: ...

class Intervals(NamedTuple, Generic[_A]):
    p: _A
    pr: _A
    qrs: _A
    qt: _A
    t: _A

class HRV(NamedTuple, Generic[_A]):
    mean_nn: _A
    mean_hr: _A
    sdnn: _A
    rmssd: _A
    pnn50: _A
    cvnn: _A
    cvsd: _A
    lf: _A
    hf: _A
    lf_hf: _A
    ectopic: _A

class Neighbors(NamedTuple, Generic[_A]):
    index: _A  # type: ignore[assignment]
    similarity: _A

def rpeaks_index(rpeaks: Any) -> Any: ...
def default_max_beats(samples: int, fs: float) -> int: ...
