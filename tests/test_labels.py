"""Diagnoses to classes: the Challenge's merges, old names, PTB-XL superclasses, LUDB rhythms; ages and sexes."""

import numpy as np
import pytest
from real_records import DATA

from physioclr.data import labels
from physioclr.data.metadata import describe, parse_age, parse_sex
from physioclr.data.wfdb_source import read_header


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
    assert describe(tmp_path / src, prefix + "00003_hr", [])["labels"] == {}


def test_ptbxl_table_without_its_columns(tmp_path):
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id,age\n1,50\n")
    with pytest.raises(ValueError, match="lacks the columns patient_id"):
        describe(tmp_path, "records500/x", [])


def test_multi_hot_columns_follow_the_class_names():
    for names in labels.CLASSES.values():
        assert len(np.unique(names)) == len(names)
