"""What three readers make of the forms that WFDB headers and files have: the table of docs/reading.md, and its test.

python tests/support/wfdb_forms.py        prints the table
"""

from typing import NamedTuple

import numpy as np
from wfdb_encode import encode

X = np.nan  # a missing sample
SEGMENTS = {
    "s1.hea": "s1 1 250 2\ns1.dat 16 100/mV 16 0\n",
    "s1.dat": encode(16, [100, 200]),
    "s2.hea": "s2 1 250 2\ns2.dat 16 50/mV 16 0\n",
    "s2.dat": encode(16, [100, 200]),
    "layout.hea": "layout 2 250 0\n~ 0 100/mV 16 0 0 0 0 I\n~ 0 100/mV 16 0 0 0 0 II\n",
    "v1.hea": "v1 2 250 2\nv1.dat 16 100/mV 16 0 0 0 0 I\nv1.dat 16 200/mV 16 0 0 0 0 II\n",
    "v1.dat": encode(16, [100, 200, 300, 400]),
    "v2.hea": "v2 1 250 2\nv2.dat 16 50/mV 16 0 0 0 0 II\n",
    "v2.dat": encode(16, [100, 200]),
}
FORMATS, RATES = "test_wfdb_formats.py", "test_wfdb_rates.py"
PARTS, MAT = "test_wfdb_segments.py", "test_wfdb_mat.py"
SOURCE = "test_wfdb_source.py"
ONE_TWO, TWO = encode(16, [1, 2]), encode(212, [1, 2])
NOTHING = "no samples"
BYTES = "the file's bytes as samples"


class Form(NamedTuple):
    """Rows of values per signal, a text that an error contains, or the type of an exception."""

    name: str
    header: str | bytes
    data: bytes
    c: list | str  # rdsamp of the WFDB C library, in the units of the header
    wfdb: list | str  # p_signal of wfdb.rdrecord
    ours: list | str  # mV
    test: str
    files: dict = {}  # noqa: RUF012
    unit: str = "mV"  # that wfdb-python names


FORMS = [
    Form("`16x2`: 200, missing, 0, 100, 300, 300 units", "r 1 250 3\nr.dat 16x2 200/mV\n",
         encode(16, [200, -32768, 0, 100, 300, 300]), [[1, X, 0, 0.5, 1.5, 1.5]], [[-81.42, 0.25, 1.5]],
         [[1, X, 0, 0.5, 1.5, 1.5]], f"{RATES}::test_every_sample_of_a_frame_is_kept"),
    Form("`16x2` beside `16`: the slower lead (C repeats it)", "r 2 125 2\nr.dat 16x2 1/mV\nr.dat 16 1/mV\n",
         encode(16, [1, 2, 7, 3, 4, 7]), [[1, 2, 3, 4], [7, 7, 7, 7]], [[1, 3], [7, 7]],
         [[1, 2, 3, 4], [7, 7, 7, 7]], f"{RATES}::test_slower_leads_are_resampled_to_the_fastest"),
    Form("skew, `16x2:1` (C and wfdb-python count frames; C ends where one signal does)",
         "r 2 125 2\nr.dat 16x2:1 1/mV\nr.dat 16x2 1/mV\n",
         encode(16, [1, 2, 5, 6, 3, 4, 7, 8]), [[3, 4], [5, 6]], [[3, -16384], [5, 7]],
         [[2, 3, 4, X], [5, 6, 7, 8]], f"{RATES}::test_skew_counts_samples_of_its_signal"),
    Form("unit `µV`, format 212", "r 1 250 2\nr.dat 212 1/µV 12 0\n", TWO, [[1, 2]], [[1, 2]], [[0.001, 0.002]],
         f"{RATES}::test_units_of_voltage", unit="V"),
    Form("unit `μV`, the other code point", "r 1 250 2\nr.dat 16 1/μV 12 0\n", ONE_TWO, [[1, 2]], [[1, 2]],
         [[0.001, 0.002]], f"{RATES}::test_units_of_voltage", unit="V"),
    Form("unit `µV` in Latin-1", "r 1 250 2\nr.dat 16 1/µV 12 0\n".encode("latin-1"), ONE_TWO, [[1, 2]], [[1, 2]],
         [[0.001, 0.002]], f"{RATES}::test_units_in_two_encodings_of_one_header", unit="V"),
    Form("unit `V`", "r 1 250 2\nr.dat 16 1000/V 12 0\n", ONE_TWO, [[0.001, 0.002]], [[0.001, 0.002]], [[1, 2]],
         f"{RATES}::test_units_of_voltage", unit="V"),
    Form("unit `nV`", "r 1 250 2\nr.dat 16 1/nV 12 0\n", ONE_TWO, [[1, 2]], [[1, 2]], [[1e-6, 2e-6]],
         f"{RATES}::test_units_of_voltage", unit="nV"),
    Form("unit `mv`", "r 1 250 2\nr.dat 212 1/mv 12 0\n", TWO, [[1, 2]], [[1, 2]], [[1, 2]],
         f"{RATES}::test_units_of_voltage", unit="mv"),
    Form("unit `mmHg`", "r 1 250 2\nr.dat 16 1/mmHg 12 0\n", encode(16, [1, 2]), [[1, 2]], [[1, 2]],
         "no signal in volts", f"{RATES}::test_other_units_are_no_leads", unit="mmHg"),
    Form("gain `1E3/mV`", "r 1 250 2\nr.dat 212 1E3/mV 12 0\n", TWO, [[0.001, 0.002]], [[1, 2]], [[0.001, 0.002]],
         f"{RATES}::test_gain_and_baseline", unit="E3/mV"),
    Form("gain `+100(+1)/mV`", "r 1 250 2\nr.dat 212 +100(+1)/mV 12 0\n", TWO, [[0, 0.01]], [[0.01, 0.02]],
         [[0, 0.01]], f"{RATES}::test_gain_and_baseline"),
    Form("`1()/mV`, ADC zero 5", "r 1 250 2\nr.dat 212 1()/mV 12 5\n", TWO, [[1, 2]], [[-4, -3]], [[-4, -3]],
         f"{RATES}::test_gain_and_baseline"),
    Form("no gain, ADC zero 5 (200 per mV)", "r 1 250 2\nr.dat 212 0 12 5\n", encode(212, [205, 405]), [[1, 2]],
         [[1, 2]], [[1, 2]], f"{RATES}::test_gain_and_baseline"),
    Form("a block size, and no description", "r 1 250 2\nr.dat 16 1/mV 12 0 1 3 512\n", ONE_TWO, [[1, 2]], [[1, 2]],
         [[1, 2]], f"{SOURCE}::test_names_of_leads"),
    Form("a name in the first line that is not the file's: `r.mat 1 250 2`", "r.mat 1 250 2\nr.dat 16 1/mV 12 0\n",
         ONE_TWO, [[1, 2]], "HeaderSyntaxError", [[1, 2]], f"{SOURCE}::test_first_lines_with_defects"),
    Form("a signal without a file, `~`", "r 2 250 2\nr.dat 16 1/mV 12 0\n~ 0 1/mV 12 0\n", ONE_TWO, NOTHING, "KeyError",
         [[1, 2], [X, X]], f"{FORMATS}::test_signals_without_a_file"),
    Form("the file's name in another case", "r 1 250 2\nR.DAT 16 1/mV 12 0\n", ONE_TWO, "error", "FileNotFoundError",
         [[1, 2]], f"{FORMATS}::test_names_of_files_in_another_case"),
    Form("rate `3.6e2`", "r 1 3.6e2 2\nr.dat 212 1/mV 12 0\n", TWO, [[1, 2]], [[1, 2]], [[1, 2]],
         f"{RATES}::test_rate_and_length"),
    Form("format 8, no initial value, ADC zero 100", "r 1 250 3\nr.dat 8 200(0)/mV 10 100\n", encode(8, [0, 5, -3]),
         [[0.5, 0.525, 0.51]], [[0, 0.025, 0.01]], [[0.5, 0.525, 0.51]],
         f"{FORMATS}::test_differences_begin_at_the_initial_value"),
    Form("format 8, a difference of -128", "r 1 250 3\nr.dat 8 200(0)/mV 10 0 100\n", encode(8, [0, -128, -128]),
         [[0.5, -0.14, -0.78]], [[0.5, -0.14, -0.78]], [[0.5, -0.14, -0.78]],
         f"{FORMATS}::test_no_difference_is_missing_and_sums_may_leave_16_bits"),
    Form("format 80, value -128", "r 1 250 3\nr.dat 80 200/mV 10 0\n", bytes([0, 128, 129]), [[X, 0, 0.005]],
         [[X, 0, 0.005]], [[X, 0, 0.005]], f"{FORMATS}::test_missing_codes_by_hand"),
    Form("format 212, value -2^11", "r 1 250 2\nr.dat 212 1/mV 12 0\n", encode(212, [1, -2048]), [[1, X]], [[1, X]],
         [[1, X]], f"{FORMATS}::test_missing_codes_by_hand"),
    Form("format 310, value -2^9", "r 1 250 3\nr.dat 310 1/mV 10 0\n", encode(310, [1, -512, 2]), [[1, X, 2]],
         [[1, X, 2]], [[1, X, 2]], f"{FORMATS}::test_missing_codes_by_hand"),
    Form("format 24, value -2^23", "r 1 250 2\nr.dat 24 1/mV 12 0\n", encode(24, [1, -(1 << 23)]), [[1, X]], [[1, X]],
         [[1, X]], f"{FORMATS}::test_missing_codes_by_hand"),
    Form("format 311, an unused bit set", "r 1 250 3\nr.dat 311 1/mV 10 0\n", bytes([0, 0, 0, 0x61]), [[0, 0, -496]],
         [[0, 0, 528]], [[0, 0, -496]], f"{FORMATS}::test_every_format_by_its_definition"),
    Form("length 0, format 212", "r 1 250 0\nr.dat 212 1/mV 12 0\n", TWO, [[1, 2]], "ValueError", [[1, 2]],
         f"{FORMATS}::test_length_not_stated"),
    Form("FLAC (516) without a length", "r 1 250\nr.dat 516 1/mV 16 0\n", b"flac", [[1, 2, 3]], "ZeroDivisionError",
         [[1, 2, 3]], f"{FORMATS}::test_flac"),
    Form("more signal lines than announced", "r 1 250 2\nr.dat 212 1/mV 12 0\nr.dat 212 1/mV 12 0\n", TWO, [[1, 2]],
         "TypeError", [[1, 2]], f"{FORMATS}::test_more_signal_lines_than_announced"),
    Form("offset on the first line only", "r 2 250 1\nr.dat 16+2 1/mV 12 0\nr.dat 16 1/mV 12 0\n",
         encode(16, [9, 1, 2]), [[1], [2]], [[1], [2]], [[1], [2]], f"{FORMATS}::test_bytes_before_the_samples"),
    Form("a date that is none", "r 1 250 2 10:61:99 31-Feb-20\nr.dat 212 1/mV 12 0\n", TWO, [[1, 2]], "ValueError",
         [[1, 2]], f"{FORMATS}::test_length_not_stated"),
    Form("fewer samples than stated", "r 1 250 6\nr.dat 16 1/mV 12 0\n", encode(16, [1, 2]), [[1, 2]], "ValueError",
         "truncated", f"{FORMATS}::test_truncated"),
    Form("segments of gains of their own, fixed layout", "r/2 1 250 4\ns1 2\ns2 2\n", b"", [[1, 2, 1, 2]],
         [[1, 2, 2, 4]], [[1, 2, 2, 4]], f"{PARTS}::test_fixed_layout_with_a_gap_and_gains_of_their_own", SEGMENTS),
    Form("a gap between segments, fixed layout", "r/3 1 250 6\ns1 2\n~ 2\ns1 2\n", b"", [[1, 2, X, X, 1, 2]],
         "AttributeError", [[1, 2, X, X, 1, 2]], f"{PARTS}::test_fixed_layout_with_a_gap_and_gains_of_their_own",
         SEGMENTS),
    Form("variable layout", "r/4 2 250 6\nlayout 0\nv1 2\n~ 2\nv2 2\n", b"",
         [[1, 3, X, X, X, X], [1, 2, X, X, 2, 4]], [[1, 3, X, X, X, X], [1, 2, X, X, 2, 4]],
         [[1, 3, X, X, X, X], [1, 2, X, X, 2, 4]], f"{PARTS}::test_variable_layout", SEGMENTS),
    Form("`100/1` above a segment line", "r/1 1 250 2\ns1 2\n", b"", [[1, 2]], [[1, 2]], [[1, 2]],
         f"{PARTS}::test_one_segment_and_the_two_meanings_of_100_1", SEGMENTS),
    Form("`100/1` above a signal line", "r/1 1 250 2\nr.dat 16 1/mV 12 0\n", encode(16, [1, 2]), "error",
         "HeaderSyntaxError", [[1, 2]], f"{PARTS}::test_one_segment_and_the_two_meanings_of_100_1"),
    Form("a length that is not the segments' sum", "r/2 1 250 9\ns1 2\ns2 2\n", b"", [[1, 2, 1, 2]], "ValueError",
         "announces 9 samples", f"{PARTS}::test_segments_that_do_not_fit_are_refused", SEGMENTS),
    Form("a .mat of level 5", "r 1 250 2\nr.mat 16+24 1/mV 16 0\n", b"mat", BYTES, BYTES, [[1, X]],
         f"{MAT}::test_missing_samples_in_a_matrix"),
]  # fmt: skip


def table():
    """The rows of docs/reading.md."""
    rows = ["| form | WFDB C 10.7 | wfdb-python 4.3.1 | physioclr | test |", "|---|---|---|---|---|"]
    for f in FORMS:
        theirs = _shown(f.wfdb) + (f" {f.unit}" if f.unit != "mV" and isinstance(f.wfdb, list) else "")
        ours = f'refused: "{f.ours}"' if isinstance(f.ours, str) else _shown(f.ours)
        rows.append(f"| {f.name} | {_shown(f.c)} | {theirs} | {ours} | {f.test.partition('::')[2]} |")
    return "\n".join(rows) + "\n"


def _shown(values):
    if isinstance(values, str):
        return values
    return "; ".join(" ".join("-" if v != v else f"{v:g}" for v in row) for row in values)


if __name__ == "__main__":
    print(table(), end="")
