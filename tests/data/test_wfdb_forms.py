"""The table of docs/reading.md: what physioclr, wfdb-python and the WFDB C library (where it is installed) give."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from real_records import wfdb
from scipy.io import savemat
from wfdb_forms import BYTES, FORMS, NOTHING, table

from physioclr.data.wfdb_source import RecordError, read_record

DOCS = Path(__file__).parents[2] / "docs" / "reading.md"
HERE = Path(__file__).parent


@pytest.fixture(params=FORMS, ids=[f.name for f in FORMS])
def form(request, tmp_path):
    found = request.param
    header = found.header
    (tmp_path / "r.hea").write_bytes(header if isinstance(header, bytes) else header.encode())
    if found.data == b"flac":
        soundfile = pytest.importorskip("soundfile")
        x = np.array([[1], [2], [3]], np.int16)
        soundfile.write(tmp_path / "r.dat", x, 96000, subtype="PCM_16", format="FLAC")
    elif found.data == b"mat":
        savemat(tmp_path / "r.mat", {"val": np.array([[1, -32768]], np.int16)})
    else:
        (tmp_path / "r.dat").write_bytes(found.data)
    for name, content in found.files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return found


def test_physioclr(form, tmp_path):
    if isinstance(form.ours, str):
        with pytest.raises(RecordError, match=form.ours):
            read_record(tmp_path / "r")
    else:
        np.testing.assert_allclose(read_record(tmp_path / "r").millivolts(), form.ours, rtol=1e-6)


@pytest.mark.skipif(wfdb.__version__ != "4.3.1", reason="the table is of wfdb 4.3.1")
def test_wfdb_python(form, tmp_path):
    try:
        record = wfdb.rdrecord(str(tmp_path / "r"))
        shown = record.p_signal
    except Exception as e:
        assert type(e).__name__ == form.wfdb
        return
    if form.wfdb == BYTES:
        assert np.abs(shown).max() > 1000
        return
    np.testing.assert_allclose(shown.T, form.wfdb, rtol=1e-6)
    assert set(record.units) == {form.unit}


@pytest.mark.skipif(shutil.which("rdsamp") is None, reason="the WFDB C library's rdsamp is not installed")
def test_wfdb_c(form, tmp_path):
    run = subprocess.run(
        ["rdsamp", "-r", "r", "-P", "-H"],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "WFDB": "."},
        timeout=60,
    )
    if form.c == "error":
        assert run.returncode
        return
    rows = [line.split()[1:] for line in run.stdout.decode().splitlines()]
    if form.c == NOTHING:
        assert rows == []
        return
    if form.c == BYTES:
        assert float(rows[0][0]) > 1000
        return
    np.testing.assert_allclose([[np.nan if v == "-" else float(v) for v in row] for row in rows], np.transpose(form.c))


def test_the_table_is_printed_and_its_tests_exist():
    text = DOCS.read_text(encoding="utf-8")
    assert table() in text, "print it anew: python tests/support/wfdb_forms.py"
    for name in [f.test for f in FORMS]:
        file, _, test = name.partition("::")
        assert re.search(rf"^def {test}\(", (HERE / file).read_text(encoding="utf-8"), re.M), name


def test_every_row_on_collections_names_a_test():
    section = DOCS.read_text(encoding="utf-8").partition("## Beside the files")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    assert len(rows) > 20
    sources = "\n".join(file.read_text(encoding="utf-8") for file in HERE.parent.rglob("test_*.py"))
    for row in rows:
        cell = row.rstrip(" |").rpartition("| ")[2]
        names = re.findall(r"\btest_\w+", cell)
        assert names, row
        for name in names:
            assert re.search(rf"^def {name}\(", sources, re.M), name
