"""The store says what the reader says: rates of leads that were resampled, and signals that were left out."""

import json

import numpy as np
import pytest
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.standard import origin
from physioclr.data.wfdb_source import Record


def write_mixed(folder, name, rng):
    """Ten leads at 500 Hz, V5 and V6 at 250 Hz, a pressure: format 16, frames of 4 ms."""
    x, frames = ecg_like(rng), 2500
    parts = [x[k].reshape(frames, 2) for k in range(10)] + [x[k, ::2, None] for k in (10, 11)]
    pressure = np.full((frames, 1), 90, np.int16)
    data = np.concatenate([*parts, pressure], axis=1).astype("<i2")
    (folder / f"{name}.dat").write_bytes(data.tobytes())
    lines = [f"{name} 13 250 {frames}"]
    lines += [f"{name}.dat 16x2 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS[:10]]
    lines += [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS[10:]]
    lines += [f"{name}.dat 16 1/mmHg 16 0 0 0 0 ABP"]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def test_rates_and_signals_are_told_per_record_and_counted(tmp_path, rng):
    src = tmp_path / "src"
    write_record(src, "a", ecg_like(rng))
    write_mixed(src, "b", rng)
    write_record(src, "c", ecg_like(rng, n_samples=4000, fs=400), fs=400)
    report = pc.data.prepare(src, tmp_path / "store")
    assert (report.n_records, report.n_skipped, report.n_resampled) == (3, 0, 2)
    assert report.signals_left_out == {"ABP (mmHg)": 1}
    assert "2 resampled; signals left out: ABP (mmHg) of 1" in str(report)
    store = pc.data.open_store(tmp_path / "store")
    assert list(store.table["own_fs"]) == ["", "V5 250|V6 250", "400"]
    assert list(store.table["left_out"]) == ["", "ABP (mmHg)", ""]
    assert pc.data.verify(store) == []
    header = (tmp_path / "store" / "records.csv").read_text().splitlines()[0].split(",")
    assert {"own_fs", "left_out"} <= set(header)
    again = pc.data.prepare(src, tmp_path / "store")
    assert (again.n_new, again.n_resampled, again.signals_left_out) == (0, 2, {"ABP (mmHg)": 1})


def test_a_store_of_records_at_its_rate_has_neither_column(tmp_path, rng):
    write_record(tmp_path / "src", "a", ecg_like(rng))
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert (report.n_resampled, report.signals_left_out) == (0, {}) and "resampled" not in str(report)
    assert not {"own_fs", "left_out"} & set(pc.data.open_store(tmp_path / "store").table)


def test_arrays_at_another_rate_are_told_too(tmp_path, rng):
    records = [(ecg_like(rng, n_samples=3600, fs=360), 360, {"unit": "uV"}), (ecg_like(rng), 500, {"unit": "uV"})]
    report = pc.data.write_store(tmp_path / "store", records)
    assert report.n_resampled == 1
    assert list(pc.data.open_store(tmp_path / "store").table["own_fs"]) == ["360", ""]
    shard = json.loads((tmp_path / "store" / "shard-000000" / "shard.json").read_text())
    assert shard["resampled"] == 1 and shard["left_out"] == {}


@pytest.mark.parametrize(
    ("rates", "fs", "store_fs", "own"),
    [
        ((500.0, 500.0), 500.0, 500.0, None),
        ((500.0, 500.0), 500.0, 100.0, "500"),
        ((), 257.0, 500.0, "257"),
        ((), 500.0, 500.0, None),
        ((62.5, 500.0), 500.0, 500.0, "I 62.5"),
        ((250.0, 500.0), 500.0, 1000.0, "I 250|II 500"),
        ((500.0, 500.0), 500.0, 499.9999, "500"),
    ],
)
def test_text_of_the_rates(rates, fs, store_fs, own):
    record = Record(np.zeros((2, 10), np.int16), np.ones(2), np.zeros(2), fs, ["i", "II"], [], rates)
    assert origin(record, store_fs) == ({} if own is None else {"own_fs": own})


def test_only_standard_leads_count_and_long_lists_end(rng):
    record = Record(np.zeros((2, 9), np.int16), np.ones(2), np.zeros(2), 500.0, ["II", "MCL1"], [], (500.0, 125.0))
    assert origin(record, 500.0) == {}
    told = origin(record._replace(left_out=tuple(f"S|{k} (adu)" for k in range(20))), 500.0)["left_out"].split("|")
    assert len(told) == 17 and told[0] == "S/0 (adu)" and told[-1] == "and 4 more"
