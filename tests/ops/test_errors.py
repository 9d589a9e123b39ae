"""The same wrong argument is the same error, with the same words, whichever library the arrays are of."""

import re

import numpy as np
import pytest
import torch

import physioclr as pc

ECG = np.zeros((2, 12, 1000), np.float32)
PEAKS = np.array([[100, 300, 500, -1]] * 2, np.int32)
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
PLAN = pc.Augment(gaussian_noise=True)

# op -> the call, its right arguments, and wrong ones: (changes, what the message says)
CASES = {
    "detect_rpeaks": (pc.detect_rpeaks, dict(ecg=ECG, fs=500.0), [
        (dict(fs="x"), "fs is 'x'; it must be a number"),
        (dict(fs=10), "fs is 10; it must be finite, at least 50 and at most 4000 Hz"),
        (dict(fs=None), "fs is None; it must be a number"),
        (dict(max_beats="2"), "max_beats is '2'; it must be an integer"),
        (dict(max_beats=-1), "max_beats is -1; it must be from 0 to"),
        (dict(ecg=ECG[None]), r"ecg has shape \(1, .*1000\); it must be \(records, samples\) or"),
        (dict(ecg=ECG.astype(bool)), "ecg has dtype bool; it must be one of"),
    ]),
    "delineate": (pc.delineate, dict(ecg=ECG, fs=500.0, rpeaks=PEAKS), [
        (dict(fs="x"), "fs is 'x'"),
        (dict(rpeaks=PEAKS[:1]), "rpeaks has 1 rows; it must have 2, one for each record"),
        (dict(rpeaks=PEAKS * 1.0), "rpeaks has dtype float64; it must be one of"),
        (dict(rpeaks=PEAKS[:, ::-1].copy()), r"rpeaks\[0, 1\] is 500; each row must be rising sample indices"),
        (dict(lead="V9"), "lead is 'V9'; it must be one of I, II"),
        (dict(lead=12), "lead is 12; it must be from -12 to 11"),
        (dict(lead=1.5), "lead is 1.5; it must be a lead's name, an index, 'mean', 'all'"),
        (dict(unit="adu"), "unit is 'adu'; it must be one of 'mV'"),
    ]),
    "physio_features": (pc.physio_features, dict(ecg=ECG, fs=500.0, rpeaks=PEAKS), [
        (dict(fs=object()), "fs is <object object"),
        (dict(qtc="hodges"), "qtc is 'hodges'; it must be one of 'fridericia', 'bazett'"),
        (dict(segment="2"), "segment is '2'; it must be a number"),
        (dict(segment=9.0), "segment is 9 s; it must be at most the 2 s of a record"),
        (dict(lead=[]), "lead is an empty list; it must name at least one lead"),
        (dict(rpeaks=PEAKS + 900), "rpeaks"),
    ]),
    "hrv": (pc.hrv, dict(rpeaks=PEAKS, fs=500.0), [
        (dict(fs="x"), "fs is 'x'; it must be a number"),
        (dict(fs=5000), "fs is 5000; it must be finite, at least 50 and at most 4000 Hz"),
        (dict(rpeaks=PEAKS * 1.0), "rpeaks has dtype float64; it must be one of"),
        (dict(rpeaks=PEAKS[:, ::-1].copy()), r"rpeaks\[0, 1\] is 500; each row must be rising sample indices"),
        (dict(rpeaks=PEAKS[None]), r"rpeaks has shape \(1, 2, 4\); it must be \(records, beats\)"),
    ]),
    "physio_similarity": (pc.physio_similarity, dict(a=ROWS), [
        (dict(kernel="dot"), "kernel is 'dot'; it must be one of 'cosine', 'rbf'"),
        (dict(sigma="x", kernel="rbf"), "sigma is 'x'; it must be a number"),
        (dict(sigma=0.0, kernel="rbf"), "sigma is 0.0; it must be finite, above 0"),
        (dict(packed=True), "packed is True without a threshold"),
        (dict(threshold="high"), "threshold is 'high'; it must be a number"),
        (dict(b=ROWS[:, :2]), "b has 2 features; it must have 3, as a has"),
        (dict(a=ROWS[0]), r"a has shape \(3,\); it must be \(rows, features\)"),
        (dict(a=ROWS * np.nan), "a contains NaN or infinite features"),
    ]),
    "physio_neighbors": (pc.physio_neighbors, dict(a=ROWS, k=2), [
        (dict(k="2"), "k is '2'; it must be an integer"),
        (dict(k=0), "k is 0; it must be from 1 to"),
        (dict(k=1.5), "k is 1.5; it must be an integer"),
        (dict(group=np.zeros(3, int)), r"group has shape \(3,\); it must be \(4,\)"),
        (dict(group=np.zeros(4)), "group has dtype float64; it must be one of"),
        (dict(b=ROWS, group=np.zeros(4, int)), "group is given together with b"),
    ]),
    "shuffle_beats": (pc.shuffle_beats, dict(ecg=ECG, rpeaks=PEAKS, seed=0), [
        (dict(cut="p"), "cut is 'p'; it must be one of 'r', 'tp'"),
        (dict(seed="0"), "seed is '0'; it must be an integer"),
        (dict(seed=-1), "seed is -1; it must be from 0 to"),
        (dict(rpeaks=PEAKS[:1]), "rpeaks has 1 rows; it must have 2"),
        (dict(sample_id=np.zeros(3, int)), r"sample_id has shape \(3,\); it must be \(2,\)"),
    ]),
    "augment": (pc.augment, dict(ecg=ECG, plan=PLAN, fs=500.0, seed=0), [
        (dict(fs="x"), "fs is 'x'"),
        (dict(seed=1.5), "seed is 1.5; it must be an integer"),
        (dict(seed=[]), "seed is empty; it must be an integer, or one for each view"),
        (dict(scale=0.5), "scale is given, but ecg has dtype"),
        (dict(ecg=ECG.astype(np.int16)), "ecg is int16 without scale"),
        (dict(plan=pc.Augment(beat_shuffle=True)), "rpeaks"),
        (dict(dtype="int8"), "dtype is 'int8'; it must be one of"),
    ]),
    "peak_reconstruction_loss": (pc.peak_reconstruction_loss, dict(x_hat=ECG, x=ECG, rpeaks=PEAKS, fs=500.0), [
        (dict(x=ECG[:1]), r"x has shape \(1, 12, 1000\); it must be \(2, 12, 1000\)"),
        (dict(window="wide"), "window is 'wide'; it must be a number"),
        (dict(window=-1), "window is -1; it must be finite, at least 0"),
        (dict(rpeaks=np.array([[-1, 50]] * 2)), r"rpeaks\[0, 1\] is 50; each row must be rising"),
        (dict(rpeaks=np.array([[50, 50]] * 2)), r"rpeaks\[0, 1\] is 50; each row must be rising"),
        (dict(rpeaks=np.array([[2**32 + 50]] * 2)), r"rpeaks\[0, 0\] is 4294967346; each row must be rising"),
    ]),
}  # fmt: skip
WRONG = [(op, change, said) for op, (_, _, wrong) in CASES.items() for change, said in wrong]


def call(op, change, to):
    f, right, _ = CASES[op]
    return f(**{k: to(v) if isinstance(v, np.ndarray) else v for k, v in (right | change).items()})


def error(op, change, to):
    with pytest.raises((ValueError, TypeError)) as caught:
        call(op, change, to)
    return type(caught.value), str(caught.value).replace("torch.", "")


@pytest.mark.parametrize("op", CASES)
def test_the_right_arguments_are_right(op):
    for to in (lambda x: x, torch.from_numpy):
        call(op, {}, to)


@pytest.mark.parametrize("op, change, said", WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_one_error_for_every_library(op, change, said):
    kind, text = error(op, change, lambda x: x)
    assert re.search(said, text), text
    assert error(op, change, torch.from_numpy) == (kind, text)


@pytest.mark.parametrize("op", ["physio_similarity", "physio_neighbors"])
def test_a_numpy_array_beside_a_tensor_joins_it(op):
    f = pc.physio_similarity if op == "physio_similarity" else lambda a, b: pc.physio_neighbors(a, b, k=1).similarity
    mixed = f(torch.from_numpy(ROWS), ROWS)
    assert isinstance(mixed, torch.Tensor)
    np.testing.assert_array_equal(mixed.numpy(), f(ROWS, ROWS))
