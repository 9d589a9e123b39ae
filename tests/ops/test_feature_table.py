"""Names, units and meanings of the features; intervals of a delineation in ms."""

import re
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
