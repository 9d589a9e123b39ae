"""A stand-in for CuPy over host memory, for what `ops/_arrays.py` uses of it, so that the CUDA path up to the launch is
tested without a GPU: which device and stream a kernel gets, that the device is current then, that nothing is copied to
the host, and when memory is let go. `Kernels` takes the place of `_core` and runs the CPU kernels instead.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np

current = 0  # the device that is current, as cudaSetDevice would have it


class Device:
    def __init__(self, id: int):
        self.id, self._before = id, []

    def __enter__(self):
        global current
        self._before.append(current)
        current = self.id
        return self

    def __exit__(self, *_):
        global current
        current = self._before.pop()


def stream_of(device: int) -> int:
    return 0x5000 + device


class ndarray:
    """Host memory that claims to lie on a device. Like CuPy's, it does not become a NumPy array unasked."""

    __module__ = "cupy"

    def __init__(self, values: np.ndarray, device: int, owner: Any = None):
        self._values, self.device, self._owner = values, Device(device), owner
        self.data = types.SimpleNamespace(ptr=values.ctypes.data)

    shape = property(lambda self: self._values.shape)
    ndim = property(lambda self: self._values.ndim)
    dtype = property(lambda self: self._values.dtype)

    def __len__(self):
        return len(self._values)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def _view(self, values):
        return ndarray(values, self.device.id, self)

    def __getitem__(self, at):
        return self._view(self._values[at])

    def __setitem__(self, at, value):
        self._values[at] = value._values if isinstance(value, ndarray) else value

    def reshape(self, *shape):
        return self._view(self._values.reshape(*shape))

    def sum(self):
        return self._values.sum()

    def get(self):
        raise AssertionError("copied to the host")

    def __dlpack_device__(self):
        return (2, self.device.id)


class Exporter:
    """A strange library's array on a device, through DLPack."""

    def __init__(self, values: np.ndarray, device: int, kind: int = 2):
        self.values, self.device, self.kind = values, device, kind
        self.streams: list[int] = []  # of those who asked for the memory
        self.taken = self.released = 0

    def __dlpack_device__(self):
        return (self.kind, self.device)

    def __dlpack__(self, *, stream=None, **_):
        self.streams.append(stream)
        self.taken += 1
        return Capsule(self)


class Capsule:
    def __init__(self, exporter: Exporter):
        self.exporter = exporter

    def __del__(self):
        self.exporter.released += 1


class InterfaceExporter:
    """An array on a device that speaks __cuda_array_interface__ alone, as Numba's do."""

    def __init__(self, values: np.ndarray, device: int):
        self.values, self.device = values, device
        self.__cuda_array_interface__ = {
            "shape": values.shape, "typestr": values.dtype.str, "data": (values.ctypes.data, False), "version": 3,
            "strides": values.strides,
        }  # fmt: skip

    def __array__(self, *_, **__):
        raise AssertionError("copied to the host")


def from_dlpack(x):
    capsule = x.__dlpack__(stream=stream_of(x.device))
    return ndarray(x.values, x.device, capsule)


def asarray(x):
    if isinstance(x, ndarray):
        return x
    if isinstance(x, InterfaceExporter):
        return ndarray(x.values, x.device, x)
    return ndarray(np.array(x), current)


def module() -> types.ModuleType:
    m = types.ModuleType("cupy")
    m.ndarray, m.from_dlpack, m.asarray = ndarray, from_dlpack, asarray
    m.empty = lambda shape, dtype: ndarray(_poisoned(shape, dtype), current)
    m.ascontiguousarray = lambda x, dtype: _contiguous(x, dtype)
    m.cuda = types.SimpleNamespace(
        Device=Device, get_current_stream=lambda device: types.SimpleNamespace(ptr=stream_of(device))
    )
    return m


def _poisoned(shape, dtype) -> np.ndarray:
    out = np.empty(shape, dtype)
    out.view(np.uint8).reshape(-1)[:] = 0xA5 if out.size else 0
    return out


def _contiguous(x: ndarray, dtype: str) -> ndarray:
    values = np.ascontiguousarray(x._values, dtype=dtype).reshape(x.shape)
    return x if values is x._values or values.ctypes.data == x.data.ptr else ndarray(values, current)


class Kernels:
    """In place of `_core`: checks that each launch gets the device and the stream, then computes on the host."""

    def __init__(self, core: Any):
        self._core, self.launched = core, []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._core, name)
        if name == "has_cuda":
            return lambda: True
        if name.endswith("_workspace"):
            return lambda *_: 256  # bytes, which the CPU kernel leaves alone
        if not callable(real) or name == "signature":  # which launches nothing
            return real

        def launch(*args, **fields):
            where = args if fields else args[-2:]
            assert where == (current, stream_of(current)), f"{name} is not given the current device and its stream"
            assert current > 0, f"{name} is launched without xp.guard()"
            self.launched.append(name)
            return real(-1, 0, **fields) if fields else real(*args[:-2], -1, 0)

        return launch


def install(monkeypatch: Any) -> Kernels:
    """`import cupy` finds this module, and every launch goes through the returned `Kernels`."""
    import physioclr.ops._arrays as arrays
    from physioclr import _core

    kernels = Kernels(_core)
    monkeypatch.setitem(sys.modules, "cupy", module())
    monkeypatch.setattr(arrays, "_core", kernels)
    for name, m in list(sys.modules.items()):
        if name.startswith("physioclr.ops.") and hasattr(m, "_core"):
            monkeypatch.setattr(m, "_core", kernels)
    return kernels
