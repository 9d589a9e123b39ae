"""Real recordings: reading WFDB files, the store that training reads, and the records shipped with the package.

    import physioclr as pc
    pc.data.prepare("ptb-xl/", "stores/ptbxl", jobs=4)
    store = pc.data.open_store("stores/ptbxl")
    ecg = store.read(0)                            # (12, T) float32 mV

Importing this imports neither wfdb, torch nor numba.
"""

from .store import Store, open_store, verify

__all__ = ["Store", "open_store", "verify"]
