"""Diagnoses to classes: the Challenge's merges, old names, PTB-XL superclasses, LUDB rhythms; ages and sexes."""

import numpy as np
import pytest
from real_records import DATA
from wfdb_files import ecg_like, write_record

import physioclr as pc
from physioclr.data import labels, ptbxl
from physioclr.data.metadata import describe, parse_age, parse_sex
from physioclr.data.tables import read_table
from physioclr.data.wfdb_source import RecordError, read_header
from physioclr.train.labelled import labelled_records


def test_26_scored_classes_of_30_codes():
    assert len(labels.CINC2021_CLASSES) == 26
    codes = [code for _, code, _ in labels._SCORED]
    assert len(codes) == len(set(codes)) == 30


@pytest.mark.parametrize(
    ("a", "b", "name"),
    [
        ("713427006", "59118001", "CRBBB"),
        ("733534002", "164909002", "CLBBB"),
        ("284470004", "63593006", "PAC"),
        ("427172004", "17338001", "PVC"),
    ],
)
def test_official_merges(a, b, name):
    assert labels.cinc2021_classes([a]) == labels.cinc2021_classes([b]) == labels.cinc2021_classes([a, b]) == [name]


def test_unscored_codes_are_kept_but_are_no_class():
    codes = labels.dx_codes("164884008,426783006,55827005")
    assert codes == ["164884008", "426783006", "55827005"]
    assert labels.cinc2021_classes(codes) == ["NSR"]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("Normal", ["NSR"]),
        ("AF,RBBB", ["AF", "CRBBB"]),
        ("I-AVB", ["IAVB"]),
        ("LBBB", ["CLBBB"]),
        ("PAC, PVC", ["PAC", "PVC"]),
        ("SVPB;VPB", ["PAC", "PVC"]),
        ("STD", []),
        ("sinus  rhythm", ["NSR"]),
        ("Atrial Fibrillation", ["AF"]),
        ("Unknown", []),
        ("", []),
        ("something else", []),
    ],
)
def test_names_in_place_of_codes(text, classes):
    assert labels.cinc2021_classes(labels.dx_codes(text)) == classes


def test_unknown_words_are_kept():
    assert labels.dx_codes("STD,something else,AF,AF") == ["429622005", "something else", "164889003"]
    assert labels.dx_codes("Unknown") == []


def test_ptbxl_superclasses():
    assert labels.ptbxl_superclasses(labels.scp_codes("{'NORM': 80.0, 'SR': 0.0}")) == ["NORM"]
    assert labels.ptbxl_superclasses(["LVH", "IMI", "NDT", "CRBBB"]) == ["MI", "STTC", "CD", "HYP"]
    assert labels.ptbxl_superclasses(["SR", "PVC"]) == []
    assert labels.ptbxl_superclasses(["X"], {"X": "CD"}) == ["CD"]
    assert len(labels._SUPERCLASS) == 44


@pytest.mark.parametrize("text", ["", "NORM", "['NORM']", "{'NORM': ", "__import__('os')"])
def test_scp_codes_that_are_no_dict(text):
    with pytest.raises(ValueError, match="scp_codes is"):
        labels.scp_codes(text)


def test_challenge_classes_of_ptbxl():
    assert labels.cinc2021_from_scp(["SR", "CLBBB", "NDT"], "LAD") == ["CLBBB", "LAD", "NSR", "TAb"]
    assert labels.cinc2021_from_scp(["NORM"], "MID") == []
    assert set(labels._CINC2021_OF_SCP.values()) <= set(labels.CINC2021_CLASSES)


@pytest.mark.parametrize(
    ("comments", "rhythm"),
    [
        (["<diagnoses>:", "Rhythm: Sinus bradycardia."], ["Sinus bradycardia"]),
        (["Rhythm: Atrial flutter, typical."], ["Atrial flutter"]),
        (["Rhythm: Sinus rhythm. Wandering atrial pacemaker."], ["Sinus rhythm"]),
        (["Electric axis of the heart: normal."], []),
    ],
)
def test_ludb_rhythm(comments, rhythm):
    assert labels.ludb_rhythm(comments) == rhythm


def test_ages_and_sexes():
    ages = {
        "56.0": 56,
        "300": 90,
        ">89": 90,
        "90+": 90,
        "0": 0,
        "NaN": None,
        "-1": None,
        "": None,
        "Unknown": None,
        "121": None,
    }
    assert {text: parse_age(text) for text in ages} == ages
    sexes = {"Male": "M", "F": "F", " female": "F", "Unknown": "", "NaN": ""}
    assert {text: parse_sex(text) for text in sexes} == sexes


# ---- rows of the table --------------------------------------------------------------------------------------------


def test_ludb_row():
    row = describe(DATA, "ludb/101", read_header(DATA / "ludb/101").comments)
    assert (row["source"], row["age"], row["sex"], row["fold"]) == ("ludb", 44, "M", -1)
    assert row["labels"] == {"ludb_rhythm": ["Atrial fibrillation"]}
    assert "Left ventricular hypertrophy" in row["dx"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("A0001", "cpsc2018"),
        ("Q0001", "cpsc_extra"),
        ("E00001", "georgia"),
        ("JS00001", "chapman_ningbo"),
        ("S0001", "ptb"),
        ("S0549", "ptb"),
        ("S0550", "set"),  # numbers that no source of the Challenge has: another collection
        ("S23074", "chapman_ningbo"),  # the record of Ningbo that lost its J
        ("JS45551", "chapman_ningbo"),
        ("JS45552", "set"),
        ("A6877", "cpsc2018"),
        ("A6878", "set"),
        ("A00001", "set"),
        ("A0000", "set"),
        ("Q3582", "set"),
        ("E10344", "georgia"),
        ("E0001", "set"),
        ("HR21837", "ptbxl_challenge"),
        ("HR21838", "set"),
        ("I0074", "st_petersburg"),
        ("I0076", "set"),
        ("HR00001", "ptbxl_challenge"),
        ("I0001", "st_petersburg"),
        ("other", "set"),
    ],
)
def test_challenge_row(tmp_path, name, source):
    comments = ["Age: 74", "Sex: Male", "Dx: 59118001,164889003", "Rx: Unknown"]
    row = describe(tmp_path, f"set/{name}", comments)
    assert (row["source"], row["age"], row["sex"], row["patient_id"]) == (source, 74, "M", "")
    assert row["labels"] == {"cinc2021": ["AF", "CRBBB"]} and row["dx"] == ["59118001", "164889003"]


def test_mimic_patient(tmp_path):
    record = "files/p1000/p10000032/s40689238/40689238"
    row = describe(tmp_path, record, [])
    assert (row["patient_id"], row["source"]) == ("10000032", "mimic_iv_ecg")
    assert describe(tmp_path, "x", ["<subject_id>: 7"])["patient_id"] == "7"
    assert describe(tmp_path, record, [])["labels"] == {}


def test_a_diagnosis_that_nobody_knows_is_no_label(tmp_path):
    """Not labelled is not "negative of every class"; unscored diagnoses are."""
    for text in ("Unknown", "", "nan", "N/A", "to be done"):
        row = describe(tmp_path, "set/A0001", [f"Dx: {text}"])
        assert (row["labels"], row["unlabelled"]) == ({}, ["cinc2021"]), text
    row = describe(tmp_path, "set/A0001", ["Dx: 164884008"])
    assert (row["labels"], row["unlabelled"]) == ({"cinc2021": []}, [])
    assert describe(tmp_path, "set/A0001", [])["unlabelled"] == []  # a source without diagnoses
    row = describe(tmp_path, "ludb/1", ["<diagnoses>:", "Electric axis of the heart: normal."])
    assert (row["labels"], row["unlabelled"]) == ({}, ["ludb_rhythm"])


def test_patients_of_ptb(tmp_path):
    """Its folders name them; several records each."""
    for record_id in ("patient001/s0010_re", "ptbdb/patient001/s0014lre", "patient001/s0021are"):
        row = describe(tmp_path, record_id, ["age: 81", "sex: female"])
        assert (row["patient_id"], row["source"], row["age"], row["sex"]) == ("patient001", "ptb", 81, "F")
    assert describe(tmp_path, "patient001/x", [])["patient_id"] == ""


PTBXL = """ecg_id,patient_id,age,sex,scp_codes,heart_axis,strat_fold,filename_lr,filename_hr
1,15709.0,56.0,1,"{'NORM': 100.0, 'SR': 0.0}",LAD,3,records100/00001_lr,records500/00001_hr
2,7.0,300.0,0,"{'IMI': 15.0}",,10,records100/00002_lr,records500/00002_hr
"""


@pytest.mark.parametrize("src", [".", "records500"])
def test_ptbxl_row(tmp_path, src):
    """The table lies in the source folder or above it."""
    (tmp_path / "records500").mkdir()
    (tmp_path / "ptbxl_database.csv").write_text(PTBXL)
    prefix = "records500/" if src == "." else ""
    row = describe(tmp_path / src, prefix + "00001_hr", [])
    assert (row["source"], row["patient_id"], row["age"], row["sex"], row["fold"]) == ("ptbxl", "15709", 56, "F", 3)
    assert row["labels"] == {"ptbxl_superclass": ["NORM"], "cinc2021": ["LAD", "NSR"]}
    assert describe(tmp_path / src, prefix + "00002_hr", [])["age"] == 90
    row = describe(tmp_path / src, prefix + "00003_hr", [])  # without a row
    assert row["labels"] == {} and row["unlabelled"] == ["ptbxl_superclass", "cinc2021"]
    assert (
        describe(tmp_path, "chapman/A0001", ["Dx: AF"])["source"] == "cpsc2018"
    )  # another collection beside the table


def write_ptbxl(folder, text, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "ptbxl_database.csv").write_text(text, **settings)
    ptbxl.damage_below(folder)  # as each run of `prepare` does: forget what was read before
    return folder


def test_one_damaged_cell_loses_that_row_alone(tmp_path):
    damaged = PTBXL.replace("\"{'IMI': 15.0}\"", "") + (
        "3,8.0,50,0,\"{'MI': 1.0\",,1,records100/00003_lr,records500/00003_hr\n"
        "4,8.0,50,0,\"{'NORM': 1.0}\",,x,records100/00004_lr,records500/00004_hr\n"
        "5,,,,\"{'NORM': 1.0}\",,,records100/00005_lr,records500/00005_hr\n"
        "6,8.0,50,0,\"{'NORM': 1.0},,2,records100/00006_lr,records500/00006_hr\n"  # its quotation mark stays open
        "7,8.0,50,0,\"{'NORM': 1.0}\",,2,records100/00007_lr,records500/00007_hr\n"
        "8,8.0,50,0,{},,2,records100/00008_lr,records500/00008_hr\n"
    )
    folder = write_ptbxl(tmp_path / "src", damaged)
    for name, message in (
        ("00002_hr", "ptbxl_database.csv, line 3: scp_codes is ''"),
        ("00003_hr", "ptbxl_database.csv, line 4: scp_codes is "),
        ("00004_hr", "ptbxl_database.csv, line 5: strat_fold is 'x'"),
    ):
        with pytest.raises(RecordError, match=message):
            describe(folder, f"records500/{name}", [])
    assert describe(folder, "records500/00001_hr", [])["labels"]["ptbxl_superclass"] == ["NORM"]
    row = describe(folder, "records500/00005_hr", [])  # blank, but for the labels
    assert (row["patient_id"], row["age"], row["sex"], row["fold"]) == ("", None, "", -1)
    assert row["labels"]["ptbxl_superclass"] == ["NORM"]
    assert ptbxl.damage_below(folder) == ["ptbxl_database.csv, line 7: a quotation mark is not closed"]
    assert describe(folder, "records500/00006_hr", [])["labels"] == {}
    assert describe(folder, "records500/00007_hr", [])["labels"]["ptbxl_superclass"] == ["NORM"]
    row = describe(folder, "records500/00008_hr", [])  # no statement at all
    assert (row["labels"], row["unlabelled"]) == ({}, ["ptbxl_superclass", "cinc2021"])


def test_a_record_without_superclass_is_not_labelled_in_that_scheme(tmp_path):
    folder = write_ptbxl(tmp_path / "src", PTBXL.replace("'NORM': 100.0, ", ""))
    row = describe(folder, "records500/00001_hr", [])
    assert (row["labels"], row["unlabelled"]) == ({"cinc2021": ["LAD", "NSR"]}, ["ptbxl_superclass"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: t.replace(",", ";")])
def test_ptbxl_table_in_other_forms(tmp_path, encoding, change):
    """As spreadsheet programs save it. With ";" between the cells, "," may be in the numbers."""
    text = change(PTBXL).replace("{'NORM': 100.0; 'SR': 0.0}", "{'NORM': 100.0, 'SR': 0.0}")
    text = text.replace("56.0", "56,0") if ";" in text else text
    folder = write_ptbxl(tmp_path / "src", text.replace("ecg_id", "écg_id"), encoding=encoding, newline="")
    row = describe(folder, "records500/00001_hr", [])
    assert (row["patient_id"], row["age"], row["fold"]) == ("15709", 56, 3)
    assert row["labels"]["ptbxl_superclass"] == ["NORM"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ecg_id,age\n1,50\n", "lacks the columns patient_id, sex, scp_codes, strat_fold, filename_hr or filename_lr"),
        (PTBXL.replace("patient_id", "person"), "lacks the columns patient_id; it has ecg_id, person"),
        (PTBXL.replace("strat_fold", "fold"), "lacks the columns strat_fold"),
        ("", "is empty"),
        (PTBXL.replace("heart_axis", "age"), "the column 'age' more than once"),
    ],
)
def test_a_table_that_cannot_be_used_ends_the_run_before_the_first_record(tmp_path, rng, text, message):
    src = tmp_path / "src"
    write_record(src / "records500", "00001_hr", ecg_like(rng))
    (src / "ptbxl_database.csv").write_text(text)
    for start in (src, src / "records500", tmp_path):
        with pytest.raises(pc.data.TableError, match=message):
            pc.data.prepare(start, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_table_is_parsed_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ptbxl, "read_table", lambda path: calls.append(path) or read_table(path))
    folder = write_ptbxl(tmp_path / "src", PTBXL.replace("\"{'IMI': 15.0}\"", ""))
    for _ in range(20):
        describe(folder, "records500/00001_hr", [])
        with pytest.raises(RecordError):
            describe(folder, "records500/00002_hr", [])
    assert len(calls) == 1


def test_the_report_counts_what_is_not_labelled(tmp_path, rng):
    src = tmp_path / "src"
    for k, dx in enumerate(("426783006", "Unknown", "", "164884008")):
        write_record(src, f"A{k + 1:04d}", ecg_like(rng), comments=[f"Dx: {dx}"])
    report = pc.data.prepare(src, tmp_path / "store")
    assert report.unlabelled == {"cinc2021": 2} and "not labelled: 2 in cinc2021" in str(report)
    store = pc.data.open_store(tmp_path / "store")
    assert list(store.labelled["cinc2021"]) == [True, False, False, True]
    assert labelled_records(store)[2].tolist() == [0, 3]  # what the probe and supervised training use
    assert pc.data.prepare(src, tmp_path / "store").unlabelled == {"cinc2021": 2}  # also by a run that found it done


def test_multi_hot_columns_follow_the_class_names():
    for names in labels.CLASSES.values():
        assert len(np.unique(names)) == len(names)
