"""Diagnoses of the source databases as classes to learn.

Three schemes: "cinc2021", the scored classes of the PhysioNet/CinC Challenge 2021 (Reyna et al. 2021),
"ptbxl_superclass", the five diagnostic superclasses of PTB-XL (Wagner et al. 2020), and "ludb_rhythm", the rhythms of
LUDB (Kalyakulina et al. 2020). A record is labelled in a scheme if its source says something of it there: diagnoses of
which no class applies are labels ("negative of every class"), an unknown or absent diagnosis is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from .tables import TableError, is_unknown, read_table

# The 30 scored codes of the Challenge 2021. Four pairs count as one diagnosis each (the "Notes" column of its list of
# scored diagnoses), which makes 26 classes; a class carries the name of the code that comes first here.
_SCORED = (
    ("AF", "164889003", "atrial fibrillation"),
    ("AFL", "164890007", "atrial flutter"),
    ("BBB", "6374002", "bundle branch block"),
    ("Brady", "426627000", "bradycardia"),
    ("CLBBB", "733534002", "complete left bundle branch block"),
    ("CLBBB", "164909002", "left bundle branch block"),
    ("CRBBB", "713427006", "complete right bundle branch block"),
    ("CRBBB", "59118001", "right bundle branch block"),
    ("IAVB", "270492004", "1st degree av block"),
    ("IRBBB", "713426002", "incomplete right bundle branch block"),
    ("LAD", "39732003", "left axis deviation"),
    ("LAnFB", "445118002", "left anterior fascicular block"),
    ("LQRSV", "251146004", "low qrs voltages"),
    ("NSIVCB", "698252002", "nonspecific intraventricular conduction disorder"),
    ("NSR", "426783006", "sinus rhythm"),
    ("PAC", "284470004", "premature atrial contraction"),
    ("PAC", "63593006", "supraventricular premature beats"),
    ("PR", "10370003", "pacing rhythm"),
    ("PRWP", "365413008", "poor r wave progression"),
    ("PVC", "427172004", "premature ventricular contractions"),
    ("PVC", "17338001", "ventricular premature beats"),
    ("LPR", "164947007", "prolonged pr interval"),
    ("LQT", "111975006", "prolonged qt interval"),
    ("QAb", "164917005", "qwave abnormal"),
    ("RAD", "47665007", "right axis deviation"),
    ("SA", "427393009", "sinus arrhythmia"),
    ("SB", "426177001", "sinus bradycardia"),
    ("STach", "427084000", "sinus tachycardia"),
    ("TAb", "164934002", "t wave abnormal"),
    ("TInv", "59931005", "t wave inversion"),
)
CINC2021_CLASSES = tuple(dict.fromkeys(name for name, _, _ in _SCORED))
_CLASS_OF_CODE = {code: name for name, code, _ in _SCORED}

# What stands in place of a code in older headers: the Challenge's abbreviations and names, and the nine classes of the
# CPSC 2018 training set, of which ST depression and elevation have a code but are not scored.
_CODE_OF_NAME = {name.lower(): code for name, code, _ in reversed(_SCORED)} | {
    "lbbb": "164909002",
    "rbbb": "59118001",
    "svpb": "63593006",
    "vpb": "17338001",
    "normal": "426783006",
    "snr": "426783006",
    "sr": "426783006",
    "sinus": "426783006",
    "i-avb": "270492004",
    "iavb": "270492004",
    "1avb": "270492004",
    "afib": "164889003",
    "aflt": "164890007",
    "std": "429622005",
    "ste": "164931005",
}
_CODE_OF_NAME |= {meaning: code for _, code, meaning in _SCORED}

PTBXL_SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
# diagnostic_class of the 44 diagnostic statements, for a PTB-XL folder that lacks scp_statements.csv.
_SUPERCLASS_STATEMENTS = {
    "NORM": "NORM",
    "MI": "IMI ASMI ILMI AMI ALMI INJAS LMI INJAL IPLMI IPMI INJIN INJLA PMI INJIL",
    "STTC": "NDT NST_ DIG LNGQT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ANEUR EL ISCAN",
    "CD": "LAFB IRBBB 1AVB IVCD CRBBB CLBBB LPFB WPW ILBBB 3AVB 2AVB",
    "HYP": "LVH LAO/LAE RVH RAO/RAE SEHYP",
}
_SUPERCLASS = {code: s for s, codes in _SUPERCLASS_STATEMENTS.items() for code in codes.split()}

# PTB-XL's SCP-ECG statements that mean a scored class of the Challenge, so that a model trained on one can be tested
# on the other. The Challenge's own conversion made PVC "ventricular ectopics" (164884008), which it does not score.
_CINC2021_OF_SCP = {
    "AFIB": "AF",
    "AFLT": "AFL",
    "CLBBB": "CLBBB",
    "CRBBB": "CRBBB",
    "1AVB": "IAVB",
    "IRBBB": "IRBBB",
    "LAFB": "LAnFB",
    "LVOLT": "LQRSV",
    "IVCD": "NSIVCB",
    "SR": "NSR",
    "PAC": "PAC",
    "PACE": "PR",
    "PVC": "PVC",
    "LPR": "LPR",
    "LNGQT": "LQT",
    "QWAVE": "QAb",
    "SARRH": "SA",
    "SBRAD": "SB",
    "STACH": "STach",
    "NDT": "TAb",
    "NT_": "TAb",
    "TAB_": "TAb",
    "INVT": "TInv",
}
_CINC2021_OF_AXIS = {"LAD": "LAD", "ALAD": "LAD", "RAD": "RAD", "ARAD": "RAD"}

LUDB_RHYTHMS = (
    "Sinus rhythm",
    "Sinus tachycardia",
    "Sinus bradycardia",
    "Sinus arrhythmia",
    "Irregular sinus rhythm",
    "Atrial fibrillation",
    "Atrial flutter",
)

CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cinc2021": CINC2021_CLASSES, "ptbxl_superclass": PTBXL_SUPERCLASSES, "ludb_rhythm": LUDB_RHYTHMS}
)


def dx_codes(text: str) -> list[str]:
    """The codes of a Challenge header's "Dx" field, in its order; names and abbreviations become their SNOMED CT codes.

    A word that is neither a number nor a known name is kept as it is, so that nothing is lost.
    """
    words = [w.strip() for w in re.split(r"[,;|]", text)]
    codes = [w if w.isdigit() else _CODE_OF_NAME.get(" ".join(w.lower().split()), w) for w in words if w]
    return list(dict.fromkeys(c for c in codes if not is_unknown(c)))


def says_something(codes: Iterable[str]) -> bool:
    """Whether codes of a "Dx" field are a diagnosis: words that nobody knows tell of no class, present or absent."""
    return any(code.isdigit() for code in codes)


def cinc2021_classes(codes: Iterable[str]) -> list[str]:
    """The scored classes among SNOMED CT codes, in the order of CINC2021_CLASSES."""
    present = {_CLASS_OF_CODE.get(code) for code in codes}
    return [c for c in CINC2021_CLASSES if c in present]


def cinc2021_from_scp(codes: Iterable[str], heart_axis: str = "") -> list[str]:
    """The scored classes of the Challenge that PTB-XL statements and the heart axis name.

    PTB-XL has no statement for BBB, Brady or PRWP, so that these three are never positive.
    """
    present = {_CINC2021_OF_SCP.get(code) for code in codes} | {_CINC2021_OF_AXIS.get(heart_axis.strip())}
    return [c for c in CINC2021_CLASSES if c in present]


def scp_codes(text: str) -> list[str]:
    """The statements of PTB-XL's scp_codes column, a Python dict of statement to likelihood.

    Likelihood 0 means "not stated", not "absent": like the authors' benchmark this keeps every statement.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"scp_codes is {text[:60]!r}; it must be a dict of statement to likelihood")
    return [str(code) for code in value]


def ptbxl_superclasses(codes: Iterable[str], superclass: Mapping[str, str] | None = None) -> list[str]:
    """The diagnostic superclasses of SCP-ECG statements, in the order of PTBXL_SUPERCLASSES."""
    table = _SUPERCLASS if superclass is None else superclass
    present = {table.get(code) for code in codes}
    return [c for c in PTBXL_SUPERCLASSES if c in present]


def read_scp_statements(path: Path) -> dict[str, str]:
    """scp_statements.csv as statement -> diagnostic superclass."""
    table = read_table(path)
    if "diagnostic_class" not in table.columns:
        raise TableError(f"{path} has no column diagnostic_class")
    if table.damaged():
        raise TableError(f"{path} is damaged: {table.damaged()[0]}")
    cells = [(row.cells[table.columns[0]], row.cells["diagnostic_class"]) for row in table.rows]
    return {statement: superclass for statement, superclass in cells if superclass}


def ludb_rhythm(comments: Iterable[str]) -> list[str]:
    """The rhythm that the comments of a LUDB header state ("Rhythm: Atrial flutter, typical."), or nothing."""
    for comment in comments:
        key, _, value = comment.strip().partition(":")
        if key.strip().lower() == "rhythm":
            stated = value.lower()
            return [r for r in LUDB_RHYTHMS if stated.strip(" .").startswith(r.lower())]
    return []
