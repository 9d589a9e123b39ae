"""Coverage-guided fuzzing of the store reader (needs atheris).

    python tests/fuzz/fuzz_store.py -max_total_time=300 WORK tests/fuzz/corpus/store

The input replaces a file of a tiny store: its first byte says which, its second whether the manifest's checksums are
made to fit, as somebody with bad intent would. Opening, reading and `verify` give the same values or an error that
names a file; what reads otherwise is found by `verify` wherever the checksums do not fit.
"""

import json
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from tiny_store import check, everything, seal, tiny_store

import physioclr.data
from physioclr.data.store_files import MANIFEST, manifest_crc

FOLDER = tiny_store(Path(tempfile.mkdtemp(prefix="fuzz-store-")) / "store")
WANT = everything(FOLDER)
FILES = sorted(str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*") if p.is_file())
SOUND = {name: (FOLDER / name).read_bytes() for name in FILES}


def one(data: bytes) -> None:
    if len(data) < 2:
        return
    name, fits, content = FILES[data[0] % len(FILES)], data[1] % 2, data[2:]
    try:
        (FOLDER / name).write_bytes(content)
        if fits and name == MANIFEST:
            try:
                manifest = json.loads(content)
                manifest["crc32"] = manifest_crc(manifest)
                (FOLDER / name).write_text(json.dumps(manifest))
            except (ValueError, TypeError, AttributeError, RecursionError):  # no manifest at all
                pass
        elif fits:
            seal(FOLDER, name)
        if fits:  # values that are others are not to be told from the right ones
            problems = physioclr.data.verify(FOLDER)
            assert all("\n" not in p for p in problems)
            try:
                everything(FOLDER)
            except ValueError as e:
                assert "\n" not in str(e) and (str(FOLDER) in str(e)), repr(e)
        else:
            check(FOLDER, WANT)
    finally:
        for touched in (name, MANIFEST):
            (FOLDER / touched).write_bytes(SOUND[touched])


if __name__ == "__main__":
    atheris.instrument_all()  # after the sound store was read, which loads the reader's modules
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
