"""Libraries that only some sources of records need: imported when one is read, with an error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType


def _extra(module: str, extra: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as e:
        package = module.partition(".")[0]
        raise ImportError(f"{what} needs {package}: pip install 'physioclr[{extra}]' ({e})") from None


def h5py() -> ModuleType:
    return _extra("h5py", "hdf5", "reading HDF5")


def pyarrow_parquet() -> ModuleType:
    return _extra("pyarrow.parquet", "parquet", "reading Parquet")


def pyedflib() -> ModuleType:
    return _extra("pyedflib", "edf", "reading EDF")


def pydicom() -> ModuleType:
    return _extra("pydicom", "dicom", "reading DICOM")
