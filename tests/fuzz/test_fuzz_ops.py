"""Every op on arrays of any shape and value. Twenty examples an op by default; as many as one likes by one command:

    PHYSIOCLR_FUZZ=10000 pytest -q tests/fuzz

An op gives the same bits twice, or the same ValueError or TypeError of one line; nothing else. Each example is told by
its numbers alone: Hypothesis prints and shrinks them.
"""

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_cases import CASES, flat, inputs_of

EXAMPLES = int(os.environ.get("PHYSIOCLR_FUZZ", "20"))
ODD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-20, 1e-40, 0.0, -0.0, 1e19, 1e4], np.float32)
settings_of = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=EXAMPLES == 20,
)
LONG_ENOUGH = 60  # samples for the peaks that the inputs come with

examples = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31 - 1),
        "records": st.integers(0, 3),
        "leads": st.sampled_from([0, 1, 2, 3, 12, 12, 12]),
        "samples": st.one_of(st.integers(0, 5), st.integers(0, 2000)),
        "rows": st.integers(0, 40),
        "features": st.integers(0, 30),
        "width": st.integers(0, 40),
        "odd": st.sampled_from([0.0, 0.0, 0.01, 0.3, 1.0]),
        "scale": st.sampled_from([1.0, 1.0, 1e-20, 1e-3, 1e3, 1e15]),
        "peaks": st.sampled_from(["found", "rising", "any", "none"]),
        "fs": st.sampled_from([500.0, 500.0, 50.0, 100.0, 257.3, 360.0, 1000.0, 4000.0]),
    }
)


def inputs(e):
    rng = np.random.default_rng(e["seed"])
    records, leads, samples = e["records"], e["leads"], e["samples"]

    def wild(x):
        with np.errstate(all="ignore"):
            x = (x * e["scale"]).astype(np.float32)
        where = rng.random(x.shape) < e["odd"]
        x[where] = rng.choice(ODD, where.sum())
        return x

    t = np.arange(samples) % max(int(0.8 * e["fs"]), 1)
    beats = np.exp(-(((t - 100) / 9.0) ** 2))
    ecg = wild(rng.normal(0, 0.05, (records, leads, samples)) + rng.uniform(-1.5, 1.5, (records, leads, 1)) * beats)
    features = wild(rng.normal(size=(e["rows"], e["features"])))
    made = np.zeros((max(records, 1), 12, LONG_ENOUGH), np.float32)
    x = inputs_of(made, features, width=e["width"], seed=e["seed"])
    n = 9
    if e["peaks"] == "rising":
        r = np.sort(rng.integers(0, max(samples, 1), (records, n)), axis=1)
    elif e["peaks"] == "any":
        r = rng.integers(-(2**31), 2**31, (records, n))
    else:
        r = np.full((records, n), -1)
    if e["peaks"] == "found" and ecg.size and samples >= LONG_ENOUGH:
        import physioclr as pc

        r = pc.detect_rpeaks(ecg, e["fs"]).index
    length = max(1, samples * 2 // 3)
    with np.errstate(all="ignore"):
        raw = np.clip(np.nan_to_num(ecg.astype(np.float64)) * 1000, -32768, 32767).astype(np.int16)
    return x._replace(
        ecg=torch.from_numpy(ecg),
        raw=torch.from_numpy(raw),
        rpeaks=torch.from_numpy(np.asarray(r, np.int32)),
        rows=torch.from_numpy(np.arange(records)[::-1].copy()),
        starts=torch.from_numpy(rng.integers(0, max(samples - length, 0) + 1, records)),
        anchor=torch.from_numpy(wild(x.anchor.numpy())),
        fs=e["fs"],
    )


def outcome(case, x):
    try:
        return [v for v in flat(case.forward(x)) if v is not None]
    except (ValueError, TypeError) as e:
        assert "\n" not in str(e), e
        return f"{type(e).__name__}: {e}"


def bits(v):
    plain = torch.empty(v.numel(), dtype=v.dtype).copy_(v.detach().reshape(-1))  # one element may have any stride
    return plain.view(torch.uint8).numpy().tobytes()


@pytest.mark.filterwarnings("ignore:hybrid_contrastive_loss. all:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("case", [c for c in CASES if "one lead" not in c.name], ids=lambda c: c.name)
@settings_of
@given(example=examples)
def test_any_input(case, example):
    x = inputs(example)
    first, second = outcome(case, x), outcome(case, x)
    if isinstance(first, str) or isinstance(second, str):
        assert first == second
    else:
        assert [(v.shape, v.dtype, bits(v)) for v in first] == [(v.shape, v.dtype, bits(v)) for v in second]
