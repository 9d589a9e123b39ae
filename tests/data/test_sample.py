"""The shipped records: real, balanced, one per patient, readable and small."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import physioclr as pc
from physioclr.data.samples import _FOLDER


@pytest.fixture(scope="module")
def sample():
    return pc.data.sample()


def test_size_and_licence(sample):
    files = [p for p in sample.path.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 10_000_000
    readme = (sample.path / "README.md").read_text()
    for word in ("Creative Commons Attribution 4.0", "10.13026/kfzx-aw45", "10.1038/s41597-020-0495-6", "Changes:"):
        assert word in readme
    assert "Attribution 4.0 International" in (sample.path / "LICENSE.txt").read_text()
    assert sample.licence == "CC BY 4.0" and "kfzx-aw45" in sample.citation


def test_balance_and_split(sample):
    assert len(sample) == len(sample.labels) == len(sample.age) == 80
    assert (sample.labels.sum(axis=0) >= 20).all()
    for part in (sample.test, ~sample.test):
        assert (sample.labels[part].sum(axis=0) >= 5).all() and set(sample.sex[part]) == {"F", "M"}
    assert not set(sample.patient_id[sample.test]) & set(sample.patient_id[~sample.test])
    assert len(set(sample.patient_id)) == 80
    np.testing.assert_array_equal(sample.test, np.isin(sample.fold, (8, 9)))


def test_store_of_a_few_shipped_records(sample, tmp_path):
    """What prepare makes of the files agrees with the sample's own table."""
    src = tmp_path / "src"
    rows = range(0, 80, 16)
    for k in rows:
        (src / sample.record_ids[k]).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".hea", ".dat"):
            shutil.copy(f"{sample.path / sample.record_ids[k]}{suffix}", f"{src / sample.record_ids[k]}{suffix}")
    shutil.copy(_FOLDER / "ptbxl_database.csv", src)
    assert pc.data.prepare(src, tmp_path / "store").n_records == len(rows)
    store = pc.data.open_store(tmp_path / "store")
    at = {record_id: i for i, record_id in enumerate(store.table["record_id"])}
    for k in rows:
        i = at[sample.record_ids[k]]
        record = pc.data.read_record(sample.path / sample.record_ids[k])
        np.testing.assert_array_equal(store.signal(i), record.samples)
        np.testing.assert_allclose(store.read(i), record.millivolts(), rtol=1e-6)
        assert store.table["patient_id"][i] == sample.patient_id[k]
        assert (store.table["sex"][i], store.table["fold"][i]) == (sample.sex[k], sample.fold[k])
        np.testing.assert_array_equal(store.table["age"][i], sample.age[k])
        names, y = store.labels["ptbxl_superclass"]
        assert names == sample.classes
        np.testing.assert_array_equal(y[i], sample.labels[k])
        assert 4 <= len(store.rpeaks(i)) <= 30
        assert store.features(i).shape == (2, 477) and np.isfinite(store.features(i)).mean() > 0.5


def test_reading_imports_nothing_heavy(sample):
    """Format 16 needs neither wfdb nor pandas; importing pc.data needs neither torch nor numba."""
    script = (
        "import sys, physioclr as pc\n"
        "s = pc.data.sample()\n"
        "assert pc.data.read_record(s.path / s.record_ids[0]).millivolts().shape == (12, 5000)\n"
        "print(sorted({'wfdb', 'pandas', 'torch', 'numba', 'cupy', 'scipy'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(pc.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
