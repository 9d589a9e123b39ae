"""Names, units and meanings of the features; intervals of a delineation in ms."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr.ops import features


def test_a_row_for_every_column():
    table = pc.feature_table()
    assert tuple(row.name for row in table) == pc.FEATURE_NAMES
    assert all(row.unit and row.meaning and row.source for row in table)
    assert len({row.meaning for row in table}) == 159  # no two columns are told alike
    units = {row.name: row.unit for row in table}
    assert units["rr_beat3"] == units["qtc_iqr"] == "ms" and units["st_median"] == "mV"
    assert units["qrs_slope_sd"] == "mV/ms" and units["pnn50"] == "%" and units["cv_rr"] == "1"


def test_the_docstring_has_the_same_units():
    """FEATURE_NAMES' documentation, which people read, against the table, which programs read."""
    source = Path(features.__file__).read_text(encoding="utf-8")
    told = re.findall(r"^    (\w+)  +(ms|mV/ms|mV|%|1)  ", source, re.M)
    units = {row.name: row.unit for row in pc.feature_table()}
    assert len(told) > 20
    for name, unit in told:
        assert units.get(name, units.get(f"{name}_mean")) == unit, name


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
def test_intervals_are_ms_and_nan_where_a_wave_is_absent(to):
    waves = pc.Delineation(*(to(np.array([v], np.int32)) for v in (
        [100, -1], [110, -1], [120, -1], [140, 900], [185, 950], [230, -1], [270, -1], [310, -1],
    )))  # fmt: skip
    ms = waves.intervals(500)
    want = dict(p=[40, np.nan], pr=[80, np.nan], qrs=[90, 100], qt=[340, np.nan], t=[160, np.nan])
    for name, values in want.items():
        got = getattr(ms, name)
        assert type(got) is type(waves.p_on) and str(got.dtype).endswith("float32")
        np.testing.assert_array_equal(np.asarray(got), np.array([values], np.float32), err_msg=name)


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
def test_a_frame_has_names_and_units(to, tmp_path, rng):
    pandas = pytest.importorskip("pandas")
    x = rng.normal(size=(3, 159)).astype(np.float32)
    frame = pc.feature_frame(to(x), records=["a", "b", "c"])
    assert list(frame.columns) == list(pc.FEATURE_NAMES) and list(frame.index) == ["a", "b", "c"]
    assert frame.index.name == "record" and frame.loc["b", "qrs_median"] == x[1, pc.FEATURE_NAMES.index("qrs_median")]
    assert frame.attrs["units"] == {info.name: info.unit for info in pc.feature_table()}
    np.testing.assert_array_equal(frame.to_numpy(), x)
    np.testing.assert_array_equal(
        pc.FeatureSpace.fit(frame, 2).transform(frame), pc.FeatureSpace.fit(x, 2).transform(x)
    )
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "f.parquet")
    again = pandas.read_parquet(tmp_path / "f.parquet")
    assert again.attrs == frame.attrs and again.equals(frame)


def test_a_frame_of_segments_and_leads(rng):
    pytest.importorskip("pandas")
    x = rng.normal(size=(2, 3, 2 * 159)).astype(np.float32)
    frame = pc.feature_frame(x, leads=["II", "V1"])
    assert frame.index.names == ["record", "segment"] and frame.columns.names == ["lead", "feature"]
    assert frame.loc[(1, 2), ("V1", "rr_mean")] == x[1, 2, 159 + pc.FEATURE_NAMES.index("rr_mean")]
    assert pc.feature_frame(x).columns[159] == (1, "rr_beat0")
    np.testing.assert_array_equal(pc.FeatureSpace.fit(frame, 2).transform(frame).reshape(2, 3, 2),
                                  pc.FeatureSpace.fit(x, 2).transform(x))  # fmt: skip


def test_what_makes_no_frame(monkeypatch):
    pytest.importorskip("pandas")
    for wrong, message in (
        (dict(features=np.zeros((2, 60))), r"features has shape \(2, 60\); it must be \(B, k \* 159\)"),
        (dict(features=np.zeros(159)), r"features has shape \(159,\)"),
        (dict(features=np.zeros((2, 159)), records=["a"]), "records has 1 names; it must have 2, one for each record"),
        (dict(features=np.zeros((2, 159)), leads=["I", "II"]), "leads has 2 names; it must have 1"),
    ):
        with pytest.raises(ValueError, match=message):
            pc.feature_frame(**wrong)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="feature_frame needs pandas, which is not installed: pip install pandas"):
        pc.feature_frame(np.zeros((2, 159)))
