"""Collections other than WFDB trees: HDF5, .npy, Parquet, EDF, DICOM; and MIMIC-IV-ECG's and PTB's folders."""

import sys
import tracemalloc

import numpy as np
import pytest
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.wfdb_list import listed


def millivolts(rng, **settings):
    return (ecg_like(rng, **settings) / 1000).astype(np.float32)


def prepared(src, dest, **settings):
    report = pc.data.prepare(src, dest, **settings)
    assert pc.data.verify(dest) == []
    return report, pc.data.open_store(dest)


# ---- .npy and Parquet ---------------------------------------------------------------------------------------------


def test_npy(tmp_path, rng):
    src, x = tmp_path / "src", [millivolts(rng) for _ in range(4)]
    (src / "b").mkdir(parents=True)
    np.save(src / "b" / "one.npy", x[0])
    np.save(src / "turned.npy", x[1].T.astype(np.float64))
    np.save(src / "many.npy", np.stack(x[2:]))
    np.save(src / "wrong.npy", np.zeros((3, 5000)))
    np.save(src / "text.npy", np.array([["a"]]))
    (src / "damaged.npy").write_bytes(b"")
    (tmp_path / "t.csv").write_text("record_id,patient_id,fs\nb/one,p1,500\nmany/000001,p2,250\n")
    report, store = prepared(src, tmp_path / "store", source_fs=500, table=tmp_path / "t.csv")
    skipped = dict(report.skipped())
    assert skipped.keys() == {"damaged", "text", "wrong"}
    assert "(3, 5000); it must be (leads, samples) or (samples, leads) with 12 leads" in skipped["wrong"]
    assert "not numbers" in skipped["text"] and "not a readable NumPy array" in skipped["damaged"]
    assert list(store.table["record_id"]) == ["many/000000", "many/000001", "turned", "b/one"]
    for i, k in ((0, 2), (2, 1), (3, 0)):
        np.testing.assert_allclose(store.read(i), x[k], atol=5.1e-4)
    assert list(store.table["n_samples"]) == [5000, 10_000, 5000, 5000]  # the table's rate comes first
    assert list(store.table["patient_id"]) == ["", "p2", "", "p1"]


def test_eight_leads_by_name(tmp_path, rng):
    x = millivolts(rng)
    (tmp_path / "src").mkdir()
    np.save(tmp_path / "src" / "r.npy", x[[0, 1, *range(6, 12)]])
    leads = [LEADS[k] for k in (0, 1, *range(6, 12))]
    _, store = prepared(tmp_path / "src", tmp_path / "store", source_fs=500, leads=leads)
    np.testing.assert_allclose(store.read(0)[2], x[1] - x[0], atol=1.1e-3)  # III = II - I


def test_parquet_that_names_files(tmp_path, rng):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    src, x = tmp_path / "src", millivolts(rng)
    (src / "ecg").mkdir(parents=True)
    for k in range(3):
        np.save(src / "ecg" / f"{k}.npy", np.roll(x, k, axis=1))
    columns = {"path": ["ecg/1.npy", "ecg/0.npy", "ecg/9.npy"], "fs": [500.0, 500.0, 500.0], "patient": [1, 2, 3]}
    columns["AF"] = [1, 0, 0]
    parquet.write_table(pyarrow.table(columns), src / "list.parquet")
    report, store = prepared(src, tmp_path / "store")
    assert dict(report.skipped()) == {"ecg/9": "the file ecg/9.npy is missing"}
    assert list(store.table["record_id"]) == ["ecg/1", "ecg/0"] and list(store.table["patient_id"]) == ["1", "2"]
    np.testing.assert_allclose(store.read(0), np.roll(x, 1, axis=1), atol=5.1e-4)
    assert store.labels["list"][0] == ("AF",) and store.labels["list"][1].tolist() == [[1], [0]]
    parquet.write_table(pyarrow.table({"record_id": ["x", "y", "z"]} | columns), src / "list.parquet")
    store = prepared(src, tmp_path / "named")[1]  # ids beside the names of the files
    assert list(store.table["record_id"]) == ["x", "y"] and list(store.table["patient_id"]) == ["1", "2"]
    np.testing.assert_allclose(store.read(0), np.roll(x, 1, axis=1), atol=5.1e-4)


@pytest.mark.parametrize("shape", ["nested", "turned", "flat"])
def test_parquet_that_holds_signals(tmp_path, rng, shape):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x = [millivolts(rng) for _ in range(3)]
    form = {"nested": lambda a: a.tolist(), "turned": lambda a: a.T.tolist(), "flat": lambda a: a.ravel().tolist()}[
        shape
    ]
    columns = {"record_id": ["a", "b", "c", "d"], "signal": [*map(form, x), None], "age": [50, 60, None, 1]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "mine.parquet", row_group_size=2)
    report, store = prepared(tmp_path / "mine.parquet", tmp_path / "store", source_fs=500)
    assert dict(report.skipped()) == {"d": "its signal is empty"}
    for i in range(3):
        np.testing.assert_allclose(store.read(i), x[i], atol=5.1e-4)
    assert list(store.table["age"][:2]) == [50, 60] and np.isnan(store.table["age"][2])


# ---- telling them apart -------------------------------------------------------------------------------------------


def test_several_kinds_in_a_folder(tmp_path, rng):
    np.save(tmp_path / "a.npy", millivolts(rng))
    (tmp_path / "b.edf").write_bytes(b"")
    with pytest.raises(ValueError, match=r"has files of edf and npy; say which \(format\)"):
        pc.data.prepare(tmp_path, tmp_path / "store")
    assert prepared(tmp_path, tmp_path / "store", format="npy", source_fs=500)[0].n_records == 1
    write_record(tmp_path, "r", ecg_like(rng))  # a header: a WFDB folder, whatever else is there
    assert list(prepared(tmp_path, tmp_path / "wfdb")[1].table["record_id"]) == ["r"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "muse"}, "format is 'muse'; it must be one of wfdb, hdf5"),
        ({"unit": "mmHg"}, "unit is 'mmHg'; it must be one of mV"),
        ({"source_fs": 500}, "source_fs, unit and leads are for bare arrays; the files of wfdb state them"),
        ({"source_fs": 1}, "source_fs is 1"),
        ({"label_columns": ["AF"]}, "label_columns is given without a table"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, rng, settings, message):
    write_record(tmp_path / "src", "r", ecg_like(rng))
    with pytest.raises(ValueError, match=message):
        pc.data.prepare(tmp_path / "src", tmp_path / "store", **settings)


@pytest.mark.parametrize(
    "module, extra", [("h5py", "hdf5"), ("pyarrow.parquet", "parquet"), ("pyedflib", "edf"), ("pydicom", "dicom")]
)
def test_a_missing_library_names_its_extra(tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a.{ {'hdf5': 'h5', 'edf': 'edf', 'dicom': 'dcm', 'parquet': 'parquet'}[extra] }").write_bytes(b"")
    with pytest.raises(ImportError, match=rf"pip install 'physioclr\[{extra}\]'"):
        pc.data.prepare(tmp_path, tmp_path / "store")


# ---- MIMIC-IV-ECG -------------------------------------------------------------------------------------------------

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")  # aVF before aVL


def test_mimic_iv_ecg(tmp_path, rng):
    """Its order of leads, 200 units per mV, its list of records, its subjects."""
    src, x = tmp_path / "mimic", ecg_like(rng)
    lines = ["subject_id,study_id,file_name,ecg_time,path"]
    for subject, study in ((10000032, 40689238), (10000032, 44458630), (10000117, 45090959), (10000117, 48446569)):
        path = f"files/p{subject // 10000}/p{subject}/s{study}/{study}"
        lines.append(f"{subject},{study},{study},2180-07-23 08:44:00,{path}")
        if study != 48446569:  # not downloaded
            order = [LEADS.index(name) for name in MIMIC_LEADS]
            write_record((src / path).parent, str(study), x[order], leads=MIMIC_LEADS, gain="200.0(0)/mV", comments=[])
    (src / "record_list.csv").write_text("\n".join(lines) + "\n")
    report, store = prepared(src, tmp_path / "store")
    assert report.remarks == ("record_list.csv names 1 records that are not here",)
    assert list(store.table["patient_id"]) == ["10000032", "10000032", "10000117"]
    assert set(store.table["source"]) == {"mimic_iv_ecg"} and (report.n_records, report.n_skipped) == (3, 0)
    np.testing.assert_allclose(store.read(0), x / 200, atol=1e-6)
    again = pc.data.prepare(src, tmp_path / "shards", shard=(0, 2))
    assert again.finished and again.n_records == 3


def test_mimic_is_listed_without_walking(tmp_path, rng, monkeypatch):
    src = tmp_path / "mimic"
    write_record(src / "files/p1000/p10000032/s4/", "4", ecg_like(rng))
    (src / "record_list.csv").write_text("subject_id,study_id,path\n10000032,4,files/p1000/p10000032/s4/4\n")

    def walk(*args, **settings):
        raise AssertionError("walked")

    monkeypatch.setattr(sys.modules["physioclr.data.sources"], "find_records", walk)
    assert pc.data.prepare(src, tmp_path / "store").n_records == 1


def test_the_list_of_mimic_may_have_defects(tmp_path, rng):
    """A record listed twice is one; a row without a path is named; an open quotation mark would swallow rows."""
    src = tmp_path / "mimic"
    rows = ["subject_id,study_id,path"]
    for study in ("4", "5", "6"):
        path = f"files/p1000/p10000032/s{study}/{study}"
        write_record((src / path).parent, study, ecg_like(rng))
        rows += [f"10000032,{study},{path}"] * (2 if study == "5" else 1)
    (src / "record_list.csv").write_text("\n".join([*rows, "", "10000032,7"]) + "\n")
    report, store = prepared(src, tmp_path / "store")
    assert [i[-1] for i in store.table["record_id"]] == ["4", "5", "6"]
    assert "record_list.csv, line 7" in report.remarks[0] and "no path" in report.remarks[0]
    (src / "record_list.csv").write_text("\n".join(rows).replace("10000032,4", '"10000032,4') + "\n")
    with pytest.raises(ValueError, match=r"record_list.csv, line 2: a quotation mark is not closed"):
        pc.data.prepare(src, tmp_path / "other")


def test_the_list_of_mimic_is_not_held(tmp_path):
    """800,000 rows are 84 MB of paths; of each no more than eight bytes and their copy stay while it is read."""
    rows, n = [f"1,2,files/p1000/p10000032/s{k}/{k}" for k in range(100_000)], 0
    (tmp_path / "record_list.csv").write_text("\n".join(["subject_id,study_id,path", *rows]))
    tracemalloc.start()
    try:
        for n, path in enumerate(listed(tmp_path / "record_list.csv", lambda *said: None), 1):  # noqa: B007
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == len(rows) and path == rows[-1].rpartition(",")[2]
    assert peak < 40 * n + 1_000_000, peak  # as a list of str it would be 100 n


def test_ptb_patients(tmp_path, rng):
    for record in ("patient001/s0010_re", "patient001/s0014lre", "patient002/s0015lre"):
        folder, name = record.split("/")
        write_record(tmp_path / "ptbdb" / folder, name, ecg_like(rng), comments=["age: 81", "sex: female"])
    _, store = prepared(tmp_path / "ptbdb", tmp_path / "store")
    assert list(store.table["patient_id"]) == ["patient001", "patient001", "patient002"]


def test_a_damaged_row_group_leaves_its_records_out(tmp_path, rng):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    signals = [millivolts(rng).reshape(-1).tolist() for _ in range(2)]
    file = tmp_path / "p.parquet"
    parquet.write_table(pa.table({"record_id": ["a", "b"], "signal": signals}), file, row_group_size=1)
    column = parquet.ParquetFile(file).metadata.row_group(1).column(1)
    raw = bytearray(file.read_bytes())
    begin = column.dictionary_page_offset or column.data_page_offset
    raw[begin : begin + 64] = b"\xff" * 64
    file.write_bytes(raw)
    report = pc.data.prepare(file, tmp_path / "store", source_fs=500)
    assert report.n_records == 1 and [i for i, _ in report.skipped()] == ["b"]
    assert "row group 1" in dict(report.skipped())["b"]
