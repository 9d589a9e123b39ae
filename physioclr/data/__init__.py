"""Real recordings: reading files of them, the store that training reads, and the records shipped with the package.

    import physioclr as pc
    pc.data.prepare("ptb-xl/", "stores/ptbxl", jobs=4)
    store = pc.data.open_store("stores/ptbxl")
    ecg = store.read(0)                            # (12, T) float32 mV

Importing this imports neither wfdb, torch nor numba.
"""

from .labels import CLASSES
from .prepare import prepare
from .report import Report
from .samples import Sample, sample, sample_store
from .store import Store, open_store
from .store_verify import verify
from .tables import TableError
from .wfdb_header import Header, read_header
from .wfdb_source import Record, RecordError, find_records, read_record
from .write import write_store
from .zeros import zeros_as_missing

__all__ = [
    "CLASSES",
    "Header",
    "Record",
    "RecordError",
    "Report",
    "Sample",
    "Store",
    "TableError",
    "find_records",
    "open_store",
    "prepare",
    "read_header",
    "read_record",
    "sample",
    "sample_store",
    "verify",
    "write_store",
    "zeros_as_missing",
]
