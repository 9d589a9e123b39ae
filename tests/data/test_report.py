"""What the report of a run says beside its counts: records that look wrong, places that were passed over."""

import os
import warnings

import numpy as np
from test_sources import millivolts
from wfdb_files import ecg_like, write_record

import physioclr as pc


def test_an_amplitude_that_no_ecg_has_is_a_remark_on_the_record(tmp_path, rng):
    """Microvolts called mV, and volts called mV: stored, and named; a bare warning would not say which it was."""
    x = ecg_like(rng)
    write_record(tmp_path / "src", "a", x)
    write_record(tmp_path / "src", "uv", x, gain="1/mV")
    write_record(tmp_path / "src", "v", x, gain="1000000/mV")
    one = x.copy()
    one[6] = 0  # the lead that is looked at first is flat: the others tell
    write_record(tmp_path / "src", "flat", one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
        again = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert report.n_records == 4 and [line.partition(":")[0] for line in report.remarks] == ["uv", "v"]
    assert "which no ECG in mV has; it seems to be in uV" in report.remarks[0] and "in V" in report.remarks[1]
    assert again.n_new == 0 and again.remarks == report.remarks
    report = pc.data.write_store(tmp_path / "mine", [(x.astype(np.float32), 500, {"record_id": "w"})])
    assert report.remarks[0].startswith("w: it has a median peak-to-peak of ")


def test_linked_folders_are_named_in_the_report(tmp_path, rng):
    """Of every kind of collection: nothing outside src is read without being asked for, or passed over in silence."""
    for kind in ("wfdb", "npy"):
        for folder in ("src/a", "outside/b"):
            place = tmp_path / kind / folder
            place.mkdir(parents=True)
            if kind == "wfdb":
                write_record(place, "r", ecg_like(rng))
            else:
                np.save(place / "r.npy", millivolts(rng))
        os.symlink(tmp_path / kind / "outside", tmp_path / kind / "src" / "out", target_is_directory=True)
        os.symlink(tmp_path / kind / "src" / "a", tmp_path / kind / "src" / "again", target_is_directory=True)
        settings = {"source_fs": 500} if kind == "npy" else {}
        report = pc.data.prepare(tmp_path / kind / "src", tmp_path / kind / "store", **settings)
        assert report.n_found == 1 and report.remarks == ("out: passed over: a link to a folder",)
        assert "out: passed over: a link to a folder" in str(report)
