"""NumPy, CuPy and torch arrays in and out, and the checks every argument goes through.

An op does not care which library made its arrays: it sees an `Arrays`, which allocates results and gives addresses.
Messages have one form: the argument, what it was, what it must be.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from .. import _core
from ._checks import NUMPY_DTYPES, check_int, dtype_name

LARGE = 4 << 20  # bytes: NumPy asks for huge pages from here on
DLPACK_HOST, DLPACK_CUDA = (1, 3), (2, 13)  # DLDeviceType: kDLCPU, kDLCUDAHost; kDLCUDA, kDLCUDAManaged


def need_cuda_build(where: Any) -> None:
    """For the first array of a call, which is in the memory of a GPU: this build must have CUDA kernels."""
    if not _core.has_cuda():
        raise TypeError(
            f"the first array is on {where}, but this physioclr was built without CUDA, so it must be on the CPU "
            "(tensor.cpu(), cupy.asnumpy); or reinstall physioclr where nvcc is on the PATH: "
            "PHYSIOCLR_CUDA=ON pip install --no-cache-dir ."
        )


pooled = False  # whether set_result_pool has switched it on


def host_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A new array, of the pool where it is large and there is one."""
    if pooled and (size := math.prod(shape) * np.dtype(dtype).itemsize) >= LARGE:
        return _core.pooled_bytes(size).view(dtype).reshape(shape)
    return np.empty(shape, dtype)


def set_result_pool(nbytes: int) -> None:
    """Keeps the memory of large results for the next ones, up to `nbytes` in all; 0, as at first, keeps none.

    A new array of 4 MB or more is cleared by the system, page by page, when it is first written: for `augment` that can
    be half of the time. With a pool, memory of a NumPy array or CPU tensor that came from an op of this library is used
    again, by a result of the same size, once nobody holds the array or a view of it. `out=` does the same by hand.

    Args:
        nbytes: at least 0; what a training loop holds of results at a time is enough, 2**30 say.

    Raises:
        TypeError, ValueError: nbytes is no such number.
    """
    global pooled
    n = check_int(nbytes, "nbytes", 0)
    _core.set_result_pool(n)
    pooled = n > 0


class Arrays:
    """An array library on one device, as the kernels need it. This base is NumPy; the other two override it."""

    name = "numpy"
    device = -1  # the kernels' number: -1 the CPU, otherwise the CUDA ordinal
    stream = 0  # the cudaStream_t to launch on, as an integer

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return host_empty(shape, dtype)

    def rows(self, x: Any) -> tuple[Any, ...]:
        """The rows of an array of ours, as results of an op."""
        return tuple(x)

    def contiguous(self, x: Any, dtype: str) -> Any:
        """x itself where it already is C-contiguous of this dtype, otherwise a converted copy."""
        if x.dtype is NUMPY_DTYPES.get(dtype) and x.flags.c_contiguous:  # NumPy has one object of each
            return x
        if x.flags.c_contiguous and dtype_name(x) == dtype:
            return x
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which the ops treat as missing or refuse
            return np.ascontiguousarray(x, dtype=dtype).reshape(x.shape)

    def dtype(self, x: Any) -> str:
        return dtype_name(x)

    def address(self, x: Any) -> int:
        return x.ctypes.data

    def is_contiguous(self, x: Any) -> bool:
        return x.flags.c_contiguous

    def nbytes(self, x: Any) -> int:
        return x.nbytes

    def adopt(self, x: Any, name: str) -> Any:
        """Another argument of the same call, as this library's array on this device."""
        kind = kind_of(x)
        if kind in ("torch", "cupy"):
            raise TypeError(f"{name} is a {kind} array, but the first array is {self.name}; convert one of them")
        if cuda_memory(x):
            raise TypeError(f"{name} is in the memory of a GPU, but the first array is {self.name}; move one of them")
        return arrays_of(missing_peaks(x, name), name)[1]

    def adopt_out(self, x: Any, name: str) -> Any:
        """An array that the call writes: this library's already, or what it writes would be lost."""
        if kind_of(x) != self.name or not hasattr(x, "dtype"):
            raise TypeError(f"{name} is {type(x).__name__}; it must be a {self.name} array, as the first array is")
        if not isinstance(x, np.ndarray):  # of a library that lends its memory
            return self.adopt_out(self.adopt(x, name), name)
        if not x.flags.writeable:
            raise ValueError(f"{name} is read-only; it must be writeable")
        if not x.dtype.isnative:
            raise TypeError(f"{name} has dtype {x.dtype}; it must have this machine's byte order")
        return x

    def to_numpy(self, x: Any) -> np.ndarray:
        """A view where the memory is the host's. Only for CPU code (Numba) and for error messages."""
        return x

    def from_numpy(self, x: np.ndarray) -> Any:
        return x

    def guard(self) -> contextlib.AbstractContextManager:
        """Makes the device current while a kernel is launched."""
        return contextlib.nullcontext()

    def view(self, x: Any, shape: tuple[int, ...] | None = None) -> Any:
        """An array as `_core` takes it for a field with a shape: NumPy's own, or (address, *shape, owner).

        The owner goes along so that a converted copy lives as long as the call. shape: read as if it had this one.
        """
        return x if shape is None else x.reshape(shape)

    def pointer(self, x: Any) -> Any:
        """An array, or None, as `_core` takes it for a field without a shape."""
        return 0 if x is None else x

    def on(self, kernel: Callable[..., bool]) -> Callable[..., bool]:
        """A kernel of `_core` as it takes its fields on this device; it returns False if it refused the data."""
        return kernel

    def run(self, kernel: Callable[..., bool], **fields: Any) -> bool:
        return self.on(kernel)(**fields)


NUMPY = Arrays()


class OnDevice(Arrays):
    """What arrays that are not NumPy's have in common."""

    def adopt_out(self, x, name):
        if kind_of(x) != self.name:
            raise TypeError(f"{name} is {type(x).__name__}; it must be a {self.name} array, as the first array is")
        return self.adopt(x, name)

    def view(self, x, shape=None):
        return (self.address(x), *(x.shape if shape is None else shape), x)

    def pointer(self, x):
        return 0 if x is None else (self.address(x), x)

    def on(self, kernel):
        if self.device < 0:
            return kernel

        def launch(**fields: Any) -> bool:
            with self.guard():
                return kernel(self.device, self.stream, **fields)

        return launch


class TorchArrays(OnDevice):
    name = "torch"

    def __init__(self, like: Any):
        import torch

        self._torch, self._device = torch, like.device
        if like.device.type == "cuda":
            need_cuda_build(like.device)
            self.device = like.device.index
            self.stream = torch.cuda.current_stream(like.device).cuda_stream
        elif like.device.type != "cpu":
            raise TypeError(f"the first array is on {like.device}; it must be on the CPU or on a CUDA device")

    def empty(self, shape, dtype):
        if self.device >= 0:
            return self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=self._device)
        # NumPy's memory: small, it takes half the time of torch.empty; large, it asks for huge pages, which torch does
        # not, and a result is written three times as fast.
        if dtype != "bfloat16":
            return self._torch.from_numpy(host_empty(shape, dtype))
        bits = self._torch.from_numpy(host_empty(shape, "int16"))
        return self._torch.empty(0, dtype=self._torch.bfloat16).set_(bits.untyped_storage(), 0, shape)

    def rows(self, x):
        """Each with a storage of its own: torch forbids an operator's results to share one."""
        if self.device >= 0:
            return tuple(row.clone() for row in x)
        return tuple(self._torch.from_numpy(row) for row in x.numpy())

    def contiguous(self, x, dtype):
        dtype = getattr(self._torch, dtype)
        if x.dtype == dtype and x.is_contiguous():
            return x
        return x.detach().to(dtype).contiguous()

    def address(self, x):
        return x.data_ptr()

    def is_contiguous(self, x):
        return x.is_contiguous()

    def adopt(self, x, name):
        torch = self._torch
        if isinstance(x, (bool, int, float, list, tuple)) and torch.compiler.is_dynamo_compiling():
            return torch.tensor(x, device=self._device)  # which NumPy's way is not traced
        if kind_of(x) == "cupy":
            raise TypeError(f"{name} is a cupy array, but the first array is a torch tensor; convert one of them")
        if not isinstance(x, torch.Tensor) and cuda_memory(x):  # of another library
            x = torch.as_tensor(x) if hasattr(x, "__cuda_array_interface__") else torch.from_dlpack(x)
        if not isinstance(x, torch.Tensor):  # NumPy arrays and lists of R peaks, record ids, ... are small
            try:
                x = arrays_of(missing_peaks(x, name), name)[1]
                if x.dtype.kind in "US":
                    raise TypeError(f"its items are text; number them: np.unique({name}, return_inverse=True)[1]")
                return torch.as_tensor(x if x.flags.writeable else x.copy()).to(self._device)  # else a warning
            except (TypeError, ValueError, OverflowError, RuntimeError) as e:  # strings, ragged lists, ...
                error = ValueError if isinstance(e, ValueError) else TypeError
                raise error(f"{name} cannot be read as a tensor: {e}") from None
        if x.device != self._device:
            raise ValueError(f"{name} is on {x.device}; it must be on {self._device}, as the first array is")
        return x

    def to_numpy(self, x):
        return x.detach().cpu().numpy()

    def from_numpy(self, x):
        return self._torch.from_numpy(x).to(self._device)

    def guard(self):
        return self._torch.cuda.device(self._device) if self.device >= 0 else contextlib.nullcontext()


@functools.cache
def _torch_cpu() -> TorchArrays:
    import torch

    return TorchArrays(torch.empty(0))


def torch_arrays(like: Any) -> TorchArrays:
    """Of the device of a tensor; for a running kernel, as torch.compile cannot trace the cache."""
    device = like.device
    return _torch_cpu() if device.type == "cpu" and device.index is None else TorchArrays(like)


class CupyArrays(OnDevice):
    name = "cupy"

    def __init__(self, like: Any):
        import cupy

        self._cupy, self.device = cupy, like.device.id
        need_cuda_build(f"CUDA device {self.device}")
        self.stream = cupy.cuda.get_current_stream(like.device.id).ptr

    def empty(self, shape, dtype):
        with self.guard():
            return self._cupy.empty(shape, dtype)

    def contiguous(self, x, dtype):
        with self.guard():
            return self._cupy.ascontiguousarray(x, dtype=dtype)

    def address(self, x):
        return x.data.ptr

    def adopt(self, x, name):
        if kind_of(x) == "torch":
            raise TypeError(f"{name} is a torch tensor, but the first array is cupy; convert one of them")
        if cuda_memory(x):
            x = to_cupy(x, name)
            if x.device.id != self.device:
                raise ValueError(f"{name} is on CUDA device {x.device.id}; it must be on device {self.device}")
            return x
        with self.guard():
            return self._cupy.asarray(x)

    def to_numpy(self, x):
        return x.get()

    def from_numpy(self, x):
        return self.adopt(x, "result")

    def guard(self):
        return self._cupy.cuda.Device(self.device)


def kind_of(x: Any) -> str:
    """'torch', 'cupy' or 'numpy' (which stands for everything that NumPy can read). Imports neither torch nor CuPy."""
    if is_torch(x):
        return "torch"
    roots = {c.__module__.partition(".")[0] for c in type(x).__mro__}
    return "torch" if "torch" in roots else "cupy" if "cupy" in roots else "numpy"


def is_torch(x: Any) -> bool:
    """Whether x is a torch tensor. Cheap, and torch.compile can trace it."""
    return "torch" in sys.modules and isinstance(x, sys.modules["torch"].Tensor)


def is_jax(x: Any) -> bool:
    """Whether x is a JAX array."""
    return "jax" in sys.modules and isinstance(x, sys.modules["jax"].Array)


def to_jax(x: Any) -> Any:
    """A result as JAX arrays, over the same memory where JAX takes it as it is."""
    import jax

    if x is None or is_jax(x):
        return x
    if isinstance(x, tuple):
        parts = [to_jax(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    try:
        return jax.dlpack.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError):
        return jax.numpy.asarray(x)


PublicOp = TypeVar("PublicOp", bound=Callable[..., Any])


def jax_in_jax_out(f: PublicOp) -> PublicOp:
    """For a public op: JAX arrays first give JAX arrays back. All kernels see them as NumPy's or CuPy's."""
    first = next(iter(inspect.signature(f).parameters))

    @functools.wraps(f)
    def op(*args: Any, **kwargs: Any) -> Any:
        out = f(*args, **kwargs)
        if args and type(args[0]) is np.ndarray:
            return out
        return to_jax(out) if is_jax(args[0] if args else kwargs[first]) else out

    return cast(PublicOp, op)


def cuda_memory(x: Any) -> bool:
    """Whether x says that it lies in the memory of a GPU: CuPy, and what speaks DLPack or __cuda_array_interface__."""
    if isinstance(x, np.ndarray):
        return False
    if hasattr(x, "__dlpack_device__"):
        return x.__dlpack_device__()[0] in DLPACK_CUDA
    return hasattr(x, "__cuda_array_interface__")


def to_cupy(x: Any, name: str) -> Any:
    """An array in the memory of a GPU as a CuPy array over the same memory, on the device where it lies.

    CuPy hands its current stream to the owner, which makes that stream wait for whatever still writes the array, and
    the result keeps the owner's memory alive.
    """
    if kind_of(x) == "cupy":
        return x
    try:
        import cupy
    except ImportError:
        raise TypeError(
            f"{name} is a {type(x).__name__} in the memory of a GPU, which only CuPy can take over, and CuPy is not "
            "installed (pip install cupy-cuda13x); it must be a torch tensor (torch.from_dlpack) otherwise"
        ) from None
    return cupy.from_dlpack(x) if hasattr(x, "__dlpack_device__") else cupy.asarray(x)


def arrays_of(x: Any, name: str) -> tuple[Arrays, Any]:
    """The library of the first array of a call, and that array, taken over without a copy."""
    if type(x) is np.ndarray:
        return NUMPY, native_bytes(x)
    kind = kind_of(x)
    if kind == "torch":
        return TorchArrays(x), x
    if kind == "cupy":
        return CupyArrays(x), x
    if cuda_memory(x):
        need_cuda_build("a CUDA device")
        x = to_cupy(x, name)
        return CupyArrays(x), x
    return NUMPY, native_bytes(host_array(x, name))


def host_array(x: Any, name: str) -> np.ndarray:
    """What NumPy can read, without a copy where that is possible. Masked values and pandas' NA are missing: NaN."""
    if isinstance(x, np.ma.MaskedArray):
        if not np.ma.is_masked(x):
            return x.data
        floats: Any = x if x.dtype.kind == "f" else x.astype(np.float32)
        return floats.filled(np.nan)
    try:
        if is_jax(x):
            if isinstance(x, sys.modules["jax"].core.Tracer):
                raise TypeError(
                    f"{name} is traced by JAX; it must be an array, so call the op through jax.pure_callback"
                )
            return np.asarray(x)  # DLPack would refuse bfloat16
        if not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__"):
            if x.__dlpack_device__()[0] not in DLPACK_HOST:
                raise TypeError(
                    f"{name} is on DLPack device {tuple(x.__dlpack_device__())}; it must be on the CPU or a CUDA device"
                )
            return np.from_dlpack(x)
        a = np.asarray(x)
        if a.dtype == object and hasattr(x, "to_numpy"):  # pandas: columns of several types, or with NA
            with contextlib.suppress(TypeError, ValueError):
                return x.to_numpy(dtype=np.float64, na_value=np.nan)
        return a
    except ValueError as e:
        shapes = sorted(set(map(_shape, x))) if isinstance(x, (list, tuple)) else []
        if len(shapes) > 1:
            raise ValueError(
                f"{name} is a list of records of shapes {', '.join(map(str, shapes))}; it must be one array: records "
                "of different lengths go one by one, or padded to one length with NaN, which is missing"
            ) from None
        raise ValueError(f"{name} cannot be read as an array: {e}") from None
    except (BufferError, RuntimeError) as e:  # DLPack: a dtype that NumPy does not have
        raise TypeError(f"{name} cannot be read as a NumPy array: {e}") from None


def _shape(item: Any) -> tuple[int, ...]:
    """Of an array, or of a list of numbers."""
    return tuple(getattr(item, "shape", (len(item),) if isinstance(item, (list, tuple)) else ()))


def missing_peaks(x: Any, name: str) -> Any:
    """Masked R peaks are no beats: -1."""
    return x.filled(-1) if name == "rpeaks" and isinstance(x, np.ma.MaskedArray) and x.dtype.kind == "i" else x


def native_bytes(x: np.ndarray) -> np.ndarray:
    """x in this machine's byte order: big-endian data (FITS, some WFDB formats) arrive as they are."""
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
