"""Own data: arrays, tables and functions of the user's become a store whose labels the probe finds."""

import json
import re

import numpy as np
import pytest
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.record_table import RecordTable
from physioclr.data.wfdb_source import RecordError
from physioclr.train.labelled import labelled_records


def millivolts(rng, **settings):
    return (ecg_like(rng, **settings) / 1000).astype(np.float32)


# ---- write_store --------------------------------------------------------------------------------------------------


def test_arrays_become_a_store(tmp_path, rng):
    a, b, c = millivolts(rng), millivolts(rng, n_samples=3600, fs=360.0), millivolts(rng)
    a[3, 100:120] = np.nan
    order = [LEADS[k] for k in (11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
    records = [
        (a, 500, {"record_id": "x/1", "patient_id": 7, "age": 61, "sex": "female", "fold": 2, "dx": ["a"]}),
        (b, 360.0, {"labels": {"mine": ["AF"]}, "split": "test", "source": "ward"}),
        (
            np.rint(c[[11, *range(11)]] * 1000).astype(np.int16),
            500,
            {"leads": order, "unit": "uV", "labels": {"mine": []}},
        ),
        (c[:, :2000], 500, None),
        (c, 500, {"labels": {"mine": {"AF": 0, "PVC": 1, "B": True}}}),
        (c, 500, {"labels": {"mine": None}}),
    ]
    report = pc.data.write_store(tmp_path / "store", iter(records))
    assert (report.n_records, report.n_skipped, report.n_found, report.finished) == (5, 1, 6, True)
    assert dict(report.skipped()) == {"000003": "it is 4 s long; it must have at least 5 s"}
    assert report.unlabelled == {"mine": 1}
    store = pc.data.open_store(tmp_path / "store")
    assert pc.data.verify(store) == []
    assert list(store.table["record_id"]) == ["x/1", "000001", "000002", "000004", "000005"]
    assert list(store.table["patient_id"]) == ["7", "", "", "", ""] and list(store.table["sex"]) == [
        "F",
        "",
        "",
        "",
        "",
    ]
    assert (store.table["age"][0], store.table["fold"][0], store.table["fold"][1]) == (61, 2, -1)
    assert list(store.table["split"]) == ["", "test", "", "", ""]
    assert list(store.table["source"]) == ["store", "ward", "store", "store", "store"]
    assert list(store.table["n_samples"]) == [5000] * 5
    np.testing.assert_allclose(store.read(0), a, atol=5.1e-4)  # rounded to 1 uV
    np.testing.assert_array_equal(np.isnan(store.read(0)), np.isnan(a))
    np.testing.assert_allclose(store.read(2), c, atol=1.1e-3)  # leads back in their order, uV to mV
    assert all(8 <= len(store.rpeaks(i)) <= 15 for i in range(5))
    scheme, names, records, y = labelled_records(store, "mine")
    assert (scheme, names, records.tolist()) == ("mine", ("AF", "B", "PVC"), [1, 2, 3])
    assert y.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


def test_a_store_is_the_same_from_arrays_and_from_files(tmp_path, rng):
    x = ecg_like(rng)
    write_record(tmp_path / "src", "r", x)
    pc.data.prepare(tmp_path / "src", tmp_path / "files")
    pc.data.write_store(tmp_path / "arrays", [(x / 1000, 500, {"record_id": "r"})])
    files, arrays = pc.data.open_store(tmp_path / "files"), pc.data.open_store(tmp_path / "arrays")
    np.testing.assert_array_equal(files.signal(0), arrays.signal(0))
    np.testing.assert_array_equal(files.features(0), arrays.features(0))
    np.testing.assert_array_equal(files.rpeaks(0), arrays.rpeaks(0))


def test_more_records_than_a_shard_holds(tmp_path, rng, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["physioclr.data.write"], "BLOCK_SIZES", (2, 2))
    x, done = millivolts(rng), []
    pc.data.write_store(tmp_path / "store", ((x, 500, None) for _ in range(5)), progress=done.append)
    store = pc.data.open_store(tmp_path / "store")
    assert len(store) == 5 and done == [2, 4, 5] and pc.data.verify(store) == []


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (lambda x: x, (TypeError, ValueError), r"record 1 of records is ndarray; it must be \(array, fs, metadata\)"),
        (
            lambda x: (x.T, 500, None),
            ValueError,
            r"record 1 .* \(5000, 12\); it must be numbers, \(leads, samples\) with 12",
        ),
        (lambda x: (x[0], 500, None), ValueError, r"\(5000,\); it must be"),
        (lambda x: (x.astype(str), 500, None), ValueError, "record 1 .* it must be numbers"),
        (lambda x: (x, 20, None), ValueError, "record 1 of records: fs is 20"),
        (lambda x: (x, "fast", None), TypeError, "record 1 of records: fs is"),
        (lambda x: (x, 500, ["patient"]), TypeError, "the metadata of record 1 of records is list"),
        (lambda x: (x, 500, {"patient": 1}), ValueError, "has the key 'patient'; it may have record_id"),
        (lambda x: (x, 500, {"record_id": "000000"}), ValueError, "'000000', which was there before"),
        (lambda x: (x, 500, {"sex": 1}), ValueError, "record 1 of records gave sex 1"),
        (lambda x: (x, 500, {"age": "old"}), ValueError, "gave age 'old'"),
        (lambda x: (x, 500, {"fold": -2}), ValueError, "gave fold -2"),
        (lambda x: (x, 500, {"unit": "mmHg"}), ValueError, "the unit of record 1 of records is 'mmHg'"),
        (lambda x: (x, 500, {"labels": ["AF"]}), TypeError, "gave labels list"),
        (lambda x: (x, 500, {"labels": {"../x": ["AF"]}}), ValueError, r"scheme is named '\.\./x'"),
        (lambda x: (x, 500, {"labels": {"cinc2021": ["no class"]}}), ValueError, "the label 'no class' of 'cinc2021'"),
    ],
)
def test_mistakes_name_the_record_and_leave_nothing(tmp_path, rng, item, error, message):
    x = millivolts(rng)
    with pytest.raises(error, match=message):
        pc.data.write_store(tmp_path / "store", [(x, 500, None), item(x)])
    assert not [p for p in (tmp_path / "store").iterdir() if p.name[0] != "." or p.is_dir()]
    assert pc.data.write_store(tmp_path / "store", [(x, 500, None)]).n_records == 1  # the folder can be used again


def test_a_folder_that_is_taken_and_no_records(tmp_path, rng):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="which holds other files"):
        pc.data.write_store(tmp_path, [(millivolts(rng), 500, None)])
    with pytest.raises(ValueError, match="records is empty"):
        pc.data.write_store(tmp_path / "store", [])


def test_classes_may_be_given(tmp_path, rng):
    x = millivolts(rng)
    records = [(x, 500, {"labels": {"mine": ["b"]}})]
    pc.data.write_store(tmp_path / "store", records, classes={"mine": ["c", "b", "a"]})
    names, y = pc.data.open_store(tmp_path / "store").labels["mine"]
    assert names == ("c", "b", "a") and y.tolist() == [[0, 1, 0]]
    with pytest.raises(ValueError, match="the label 'b' of 'mine'"):
        pc.data.write_store(tmp_path / "other", records, classes={"mine": ["a"]})


# ---- a table ------------------------------------------------------------------------------------------------------

TABLE = """record_id,patient_id,age,sex,split,AF,PVC,rhythm:SR,height,labels
g/r0,p0,61,F,train,1,0,0,170,a|b
r1,p1,,male,val,0,0,1,,
./g/r2.hea,p0,55,f,test,,1,1,180,"['c']"
g/r3,p3,40,M,test,0.0,True,,175,[]
"""


@pytest.fixture
def source(tmp_path, rng):
    for k in range(5):
        write_record(tmp_path / "src" / "g", f"r{k}", ecg_like(rng))
    return tmp_path / "src"


def write_table(tmp_path, text, name="mine.csv", **settings):
    (tmp_path / name).write_text(text, **settings)
    return tmp_path / name


def test_a_table_says_who_and_what(source, tmp_path):
    report = pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, TABLE))
    assert report.n_records == 5
    assert report.remarks == ("1 of 5 records have no row in mine.csv", "columns of mine.csv that are not used: height")
    assert report.unlabelled == {"mine": 2, "rhythm": 2, "labels": 2}  # r2 has an empty cell, r4 no row
    store = pc.data.open_store(tmp_path / "store")
    assert pc.data.verify(store) == []
    assert list(store.table["patient_id"]) == ["p0", "p1", "p0", "p3", ""]
    assert list(store.table["age"]) == [61, 60, 55, 40, 60]  # where the table says nothing, the header does
    assert list(store.table["sex"]) == ["F", "M", "F", "M", "F"]
    assert list(store.table["split"]) == ["train", "val", "test", "test", ""]
    assert list(store.table["fold"]) == [
        0,
        1,
        2,
        2,
        -1,
    ]  # of the split, so that `probe --test-folds 2` scores the test set
    assert {s: names for s, (names, _) in store.labels.items()} == {
        "cinc2021": pc.data.CLASSES["cinc2021"], "mine": ("AF", "PVC"), "rhythm": ("SR",), "labels": ("a", "b", "c"),
    }  # fmt: skip
    assert labelled_records(store, "mine")[2:][0].tolist() == [0, 1, 3]
    assert labelled_records(store, "mine")[3].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert labelled_records(store, "labels")[2].tolist() == [0, 2, 3]
    assert labelled_records(store, "labels")[3].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert labelled_records(store, "cinc2021")[2].tolist() == [0, 1, 2, 3, 4]  # the headers' own labels stay


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("g/r3,p3,40", "g/r3,p3,forty", "mine.csv, line 5: age is 'forty'; it must be a number of years"),
        ("40,M,test", "40,1,test", "line 5: sex is '1'; it must be F, M or empty"),
        ("0.0,True", "2,True", "line 5: AF is '2'; it must be 0, 1 or empty"),
        ("175,[]", "175,[", r"line 5: labels is '\['; it must be a list"),
        ("175,[]", "175", "line 5: 9 cells in 10 columns"),
        ("175,[]", "175,[]\ng/r3,p4,40,M,test,0,1,,,", "line 6: another row of the record 'g/r3' says something else"),
    ],
)
def test_a_damaged_row_leaves_its_record_out_until_it_is_repaired(source, tmp_path, old, new, message):
    assert old in TABLE
    report = pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, TABLE.replace(old, new)))
    ((record_id, reason),) = report.skipped()
    assert record_id == "g/r3" and re.search(message, reason), reason
    assert pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, TABLE)).n_records == 5
    assert pc.data.open_store(tmp_path / "store").table["patient_id"][3] == "p3"


def test_a_changed_table_makes_its_blocks_anew(tmp_path, rng):
    """Two blocks; only the one whose rows have changed is made again, and a class that comes late has a column."""
    for k in range(20):
        write_record(tmp_path / "src", f"r{k:02d}", ecg_like(rng))
    text = "record_id,codes\n" + "".join(f"r{k:02d},a\n" for k in range(20))
    pc.data.prepare(tmp_path / "src", tmp_path / "store", table=write_table(tmp_path, text))
    changed = write_table(tmp_path, text.replace("r19,a", "r19,b|a"))
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store", table=changed)
    assert (report.n_new, report.n_records) == (4, 20)
    names, y = pc.data.open_store(tmp_path / "store").labels["codes"]
    assert names == ("a", "b") and y[:, 0].all() and y[:, 1].tolist() == [0] * 19 + [1]
    with pytest.raises(ValueError, match=r"begun with table = mine.csv, not None"):
        pc.data.prepare(tmp_path / "src", tmp_path / "store")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("id,AF\nr0,1\n", None, "has no column record_id"),
        ("record_id,AF\n", None, "has no row for any record"),
        ("record_id,AF\nother,1\n", None, "its ids are like 'other', the records' 'g/r0'"),
        ("record_id,AF\nr0,1\n", ["VF"], "has no column 'VF'; it has record_id, AF"),
        ("record_id,a b:AF\nr0,1\n", None, "the label scheme is named 'a b'"),
        ("record_id,dx\n" + "".join(f"r{k},sentence {k}\n" for k in range(1001)), None, "1001 different labels"),
        ("record_id,cinc2021\nr0,nothing\n", ["cinc2021"], "'nothing' is no class of 'cinc2021'"),
    ],
)
def test_a_table_that_cannot_be_used(source, tmp_path, text, columns, message):
    with pytest.raises(pc.data.TableError, match=message):
        pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, text), label_columns=columns)


def test_a_name_that_fits_two_records_is_refused(source, tmp_path, rng):
    write_record(source / "h", "r1", ecg_like(rng))
    with pytest.raises(pc.data.TableError, match="'r1' fits the records 'g/r1' and 'h/r1'; give their whole ids"):
        pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, TABLE))


def test_label_columns_are_chosen(tmp_path):
    path = write_table(tmp_path, "record_id,AF,PVC,text\nr0,1,1,x\nr1,0,1,\n", "my table.csv")
    table = RecordTable(path, ["AF", "text"])
    assert table.classes == {"my_table": ("AF",), "text": ("x",)} and table.unused == ("PVC",)
    assert table.row_of("r1")["labels"] == {"my_table": []} and table.row_of("r1")["unlabelled"] == ["text"]


def test_code15_table(tmp_path):
    """exams.csv as Zenodo has it; its other columns of 0 and 1 are no diagnoses."""
    text = (
        "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,normal_ecg,trace_file\n"
        "1169160,38,True,40.16,False,False,False,True,False,False,523632,False,2.09,True,exams_part13.hdf5\n"
        "2873686,73,False,67.06,False,True,False,False,False,True,1724173,,,False,exams_part13.hdf5\n"
    )
    table = RecordTable(write_table(tmp_path, text, "exams.csv"))
    assert table.classes == {"code15": ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")}
    assert table.row_of("exams_part13/1169160") == {
        "age": 38, "sex": "M", "patient_id": "523632", "labels": {"code15": ["SB"]}, "unlabelled": [],
    }  # fmt: skip
    assert table.row_of("exams_part13/2873686")["labels"] == {"code15": ["RBBB", "AF"]}
    assert table.row_of("exams_part13/2873686")["sex"] == "F"


def test_a_rate_is_for_bare_arrays_only(source, tmp_path):
    table = write_table(tmp_path, "record_id,fs\nr0,250\n")
    report = pc.data.prepare(source, tmp_path / "store", table=table)
    assert "columns of mine.csv that are not used: fs" in report.remarks
    assert list(pc.data.open_store(tmp_path / "store").table["n_samples"]) == [5000] * 5


def test_a_table_of_parquet(source, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"record_id": ["g/r0", "r1"], "fold": [3, None], "age": [61.5, None], "labels": [["a", "b"], None]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "mine.parquet")
    pc.data.prepare(source, tmp_path / "store", table=tmp_path / "mine.parquet")
    store = pc.data.open_store(tmp_path / "store")
    assert list(store.table["fold"])[:2] == [3, -1] and list(store.table["age"])[:2] == [61.5, 60]
    assert store.labels["labels"][0] == ("a", "b") and list(store.labelled["labels"][:2]) == [True, False]


@pytest.mark.parametrize(
    "text", ["record_id;age\nr0;56,5\n", "record_id\tage\nr0\t56.5\n", "\ufeffrecord_id,age\r\nr0,56.5"]
)
def test_tables_of_spreadsheet_programs(tmp_path, text):
    for encoding in ("utf-8", "utf-16"):
        table = RecordTable(write_table(tmp_path, text, encoding=encoding, newline=""))
        assert table.row_of("x/r0")["age"] == 56.5


def test_a_damaged_row_is_told_by_its_line(tmp_path):
    table = RecordTable(write_table(tmp_path, "record_id,fold\nr0,1\nr1,one\n"))
    with pytest.raises(RecordError, match=r"^mine.csv, line 3: fold is 'one'; it must be a whole number$"):
        table.row_of("r1")


# ---- a function ---------------------------------------------------------------------------------------------------


def ward(record_id, row):
    """A function of a module, as several processes want it."""
    if record_id == "g/r4":
        return None
    return {"patient_id": f"{record_id[0]}{row['age']:.0f}", "labels": {"ward": ["x"] if record_id == "g/r1" else []}}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_function_describes_records(source, tmp_path, monkeypatch, jobs):
    import sys

    monkeypatch.setattr(sys.modules["physioclr.data.prepare"], "ALONE_SECONDS", 0.0)
    pc.data.prepare(source, tmp_path / "store", describe=ward, jobs=jobs)
    store = pc.data.open_store(tmp_path / "store")
    assert list(store.table["patient_id"]) == ["g60"] * 4 + [""]
    assert store.labels["ward"][0] == ("x",) and labelled_records(store, "ward")[2].tolist() == [0, 1, 2, 3]
    assert json.loads((tmp_path / "store" / "plan.json").read_text())["describe"] == "ward"


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"name": "x"}, ValueError, "describe gave the key 'name'"),
        ("x", TypeError, "describe gave str; it must be a mapping or None"),
        ({"labels": {"cinc2021": ["x"]}}, ValueError, "describe gave the label 'x' of 'cinc2021'"),
    ],
)
def test_a_function_that_is_wrong_ends_the_run(source, tmp_path, said, error, message):
    with pytest.raises(error, match=message) as raised:
        pc.data.prepare(source, tmp_path / "store", describe=lambda record_id, row: said)
    assert "while reading the record g/r0" in raised.value.__notes__


def test_the_wrong_table_leaves_no_plan_behind(source, tmp_path):
    with pytest.raises(pc.data.TableError):
        pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, "record_id,AF\nother,1\n", "wrong.csv"))
    assert pc.data.prepare(source, tmp_path / "store", table=write_table(tmp_path, TABLE)).n_records == 5
