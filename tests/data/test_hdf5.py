"""HDF5 files with many records: CODE-15% as it is documented, files of one's own, damage, errors of the system."""

import errno

import numpy as np
import pytest
from test_sources import millivolts, prepared
from wfdb_files import LEADS

import physioclr as pc

EXAMS = """exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,normal_ecg,trace_file
590673,67,False,67.3,False,False,False,True,False,False,7,,,False,exams_part0.hdf5
14,41,True,40.0,True,False,False,False,False,True,8,False,1.5,False,exams_part0.hdf5
15,50,True,40.0,False,False,False,False,False,False,7,False,1.5,True,exams_part1.hdf5
"""


@pytest.fixture
def code15(tmp_path, rng):
    """CODE-15%'s layout: (N, 4096, 12) at 400 Hz, 10 and 7 s in the middle of zeros, a last row of zeros with id 0."""
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "code15"
    folder.mkdir()
    signals = {}
    for part, exams in (("exams_part0", {590673: 4000, 14: 2800}), ("exams_part1", {15: 4000})):
        tracings = np.zeros((len(exams) + 1, 4096, 12), np.float32)
        for k, (exam, n) in enumerate(exams.items()):
            x = millivolts(rng, n_samples=n, fs=400.0)
            x[x == 0] = 0.001
            begin = (4096 - n) // 2
            tracings[k, begin : begin + n] = x.T
            signals[f"{part}/{exam}"] = tracings[k].T.copy(), begin, n
        with h5py.File(folder / f"{part}.hdf5", "w") as f:
            f["exam_id"] = np.array([*exams, 0], np.int64)
            f["tracings"] = tracings
    (folder / "exams.csv").write_text(EXAMS)
    return folder, signals


def test_code15(code15, tmp_path):
    folder, signals = code15
    report, store = prepared(folder, tmp_path / "store", fs=400)
    assert dict(report.skipped()) == dict.fromkeys(("exams_part0/0", "exams_part1/0"), "every standard lead is flat")
    assert list(store.table["record_id"]) == list(signals)
    for i, (x, begin, n) in enumerate(signals.values()):
        inside = np.zeros(4096, bool)
        inside[begin : begin + n] = True
        assert np.isnan(store.read(i)[:, ~inside]).all()  # 48 samples, 0.12 s, at each end of the 10 s
        np.testing.assert_allclose(store.read(i)[:, inside], x[:, inside], atol=5.1e-4)
    assert list(store.table["patient_id"]) == ["7", "8", "7"] and list(store.table["sex"]) == ["F", "M", "M"]
    assert list(store.table["age"]) == [67, 41, 50] and list(store.table["source"]) == [
        "exams_part0",
        "exams_part0",
        "exams_part1",
    ]
    names, y = store.labels["code15"]
    assert names == ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
    assert y.tolist() == [[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]] and store.labelled["code15"].all()
    assert "nn_predicted_age" in report.remarks[-1]


def test_what_is_assumed_of_code_is_told_and_can_be_set(code15, tmp_path):
    """400 Hz, mV, aVR aVL aVF: its own documentation says so, and 1e-4 V and aVL aVF aVR too."""
    folder, signals = code15
    report, store = prepared(folder, tmp_path / "store", fs=400)
    told = [line for line in report.remarks if "CODE" in line]
    assert [line.partition(":")[0] for line in told] == ["exams_part0.hdf5", "exams_part1.hdf5"]
    assert "400 Hz, mV, leads I II III aVR aVL aVF V1" in told[0] and "set source_fs, unit, leads" in told[0]
    order = [*LEADS[:3], "aVL", "aVF", "aVR", *LEADS[6:]]
    report, other = prepared(folder, tmp_path / "other", fs=200, source_fs=200, unit=0.1, leads=order)
    assert "200 Hz, units of 0.1 mV, leads I II III aVL aVF aVR V1" in report.remarks[0]
    x, begin, n = signals["exams_part0/590673"]
    inside = slice(begin, begin + n)
    np.testing.assert_allclose(other.read(0)[[4, 5, 3], inside], 0.1 * x[3:6, inside], atol=5.1e-4)
    np.testing.assert_allclose(store.read(0)[3:6, inside], x[3:6, inside], atol=5.1e-4)


@pytest.mark.parametrize("unit", ["mm", 0, -1.0, float("nan"), "1e4"])
def test_a_unit_that_is_none(code15, tmp_path, unit):
    with pytest.raises(ValueError, match="it must be one of mV, uV, V, nV, or mV per unit"):
        pc.data.prepare(code15[0], tmp_path / "store", unit=unit)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("at", ["open", "read"])
def test_an_hdf5_file_that_the_system_cannot_read_is_not_damaged(code15, tmp_path, monkeypatch, number, at):
    h5py = pytest.importorskip("h5py")

    def refuse(self, *arguments, **named):
        raise OSError(number, f"Unable to synchronously open file (errno = {number})")

    monkeypatch.setattr(*((h5py, "File", refuse) if at == "open" else (h5py.Dataset, "__getitem__", refuse)))
    with pytest.raises(OSError) as raised:
        pc.data.prepare(code15[0], tmp_path / "store", fs=400)
    assert raised.value.errno == number


def test_a_table_beside_the_records_need_not_fit(code15, tmp_path):
    folder, _ = code15
    (folder / "exams.csv").write_text(EXAMS.replace("\n1", "\n91").replace("\n5", "\n95"))
    report, store = prepared(folder, tmp_path / "store", fs=400)
    assert len(store) == 3 and "5 of 5 records have no row in exams.csv" in report.remarks
    assert list(store.table["patient_id"]) == [""] * 3


def test_one_hdf5_file_with_settings(tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    x = np.stack([millivolts(rng, n_samples=3000, fs=250.0) for _ in range(2)])
    with h5py.File(tmp_path / "mine.h5", "w") as f:
        f["ecg"] = np.rint(x * 1000).astype(np.int16)
        f["record_id"] = np.array([b"a/1", b"b"])
    with pytest.raises(ValueError, match="does not state a sampling rate"):
        pc.data.prepare(tmp_path / "mine.h5", tmp_path / "none")
    _, store = prepared(tmp_path / "mine.h5", tmp_path / "store", fs=250, source_fs=250, unit="uV")
    assert list(store.table["record_id"]) == ["mine/a_1", "mine/b"]
    np.testing.assert_allclose(store.read(1), x[1], atol=1.1e-3)
    with h5py.File(tmp_path / "mine.h5", "r+") as f:
        f["ecg"].attrs["fs"] = 250.0
    assert prepared(tmp_path / "mine.h5", tmp_path / "stated", fs=250, unit="uV")[1].table["n_samples"][0] == 3000


def test_damaged_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "a.h5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="is not a readable HDF5 file"):
        pc.data.prepare(tmp_path / "a.h5", tmp_path / "store")
    with h5py.File(tmp_path / "b.h5", "w") as f:
        f["x"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"has no array of records .* its arrays: x \(3,\)"):
        pc.data.prepare(tmp_path / "b.h5", tmp_path / "store")
