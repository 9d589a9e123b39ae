"""Segments in device memory: the batches and views of `Segments`, up to the quantisation of the signal."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import NO_GPU
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_store import FS, FakeStore, one_thread

from physioclr.train import Config, checkpoint, pretrain, resident
from physioclr.train.dataset import Sampler, Segments, iterate
from physioclr.train.resident import MISSING, ResidentSegments, estimate_bytes, quantise
from physioclr.train.views import make_views

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=3, seed=3, feature_components=10,
               resident=True, device="cpu")  # fmt: skip
CPU = torch.device("cpu")

single = pytest.fixture(autouse=True, scope="module")(one_thread)


class Tenth:
    """A feature space that every row passes through on its own."""

    def transform(self, features):
        return np.nan_to_num(features) / np.float32(10)


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


def both(store, config=SMALL):
    segments = Segments(store, config)
    segments.feature_space = Tenth()
    return segments, ResidentSegments(segments, CPU)


@pytest.mark.parametrize("decimate", [1, 4])
@pytest.mark.parametrize("method", ["physioclr", "supervised"])
def test_batch_is_that_of_the_segments(store, method, decimate):
    segments, packed = both(store, SMALL.replace(method=method, decimate=decimate))
    assert len(packed) == len(segments) == 11
    gaps = 0
    for pairs in (np.array([4]), np.array([7, 2, 3, 0]), np.arange(len(segments))[::-1]):
        a, b = segments.batch(pairs), packed.batch(pairs)
        for f in dataclasses.fields(a):
            x, y = getattr(a, f.name), getattr(b, f.name)
            if isinstance(x, np.ndarray):
                np.testing.assert_array_equal(x, y)
            elif isinstance(x, torch.Tensor) and f.name != "ecg":
                torch.testing.assert_close(y, x, rtol=0, atol=0, equal_nan=True)
        assert b.ecg.dtype == torch.float32 and torch.equal(a.ecg.isnan(), b.ecg.isnan())
        gaps += int(a.ecg.isnan().sum())
        step = a.ecg.nan_to_num().abs().amax(2, keepdim=True) / 32767
        assert ((a.ecg - b.ecg).nan_to_num().abs() <= 0.505 * step).all()  # half a step, and two roundings to float32
        assert not torch.equal(a.ecg.nan_to_num(), b.ecg.nan_to_num())
    assert gaps > 2500  # a whole lead of a record, and a stretch of another one's


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
def test_quantise_is_within_half_a_step_and_keeps_gaps(samples):
    x = np.array([samples], np.float32)
    q, scale = quantise(x)
    known = np.isfinite(x)
    assert q.dtype == np.int16 and scale.dtype == np.float32 and scale.shape == (1,) and scale[0] > 0
    np.testing.assert_array_equal(q == MISSING, ~known)
    error = np.abs(q.astype(np.float64) * scale[:, None] - x)[known]
    assert (error <= 0.502 * max(scale[0] if np.any(q[known]) else 0.0, np.finfo(np.float32).tiny * 32767)).all()


CASES = [
    SMALL.replace(method=method, augment=augment, **more)
    for method, more in [
        ("physioclr", {}),
        ("physioclr", {"shuffle_cut": "tp", "alpha": 0.0, "beta": 0.0}),  # nothing decoded: anchors with time maps
        ("simclr", {}),
        ("cmsc", {}),
    ]
    for augment in ("leads", "preserving", "none")
]


@pytest.mark.parametrize("config", CASES, ids=lambda c: f"{c.method}-{c.augment}-{c.shuffle_cut}")
def test_views_are_those_of_the_dequantised_batch(store, config):
    _, packed = both(store, config)
    batch = packed.batch(np.array([5, 1, 8]))
    plain = dataclasses.replace(batch, resident=None)
    got, wanted = make_views(batch, config, 2, FS, 0.3), make_views(plain, config, 2, FS, 0.3)
    assert (got[1] is None) == (wanted[1] is None) == (config.method == "cmsc")
    for a, b in zip(got, wanted, strict=True):
        assert a is None or torch.equal(a, b)
    if config.augment != "none":
        clean = make_views(plain, config.replace(augment="none"), 2, FS, 0.3)[0]
        assert not torch.equal(got[0], clean)


def test_anchor_and_both_simclr_views_are_one_call_without_the_batch(store):
    config = SMALL.replace(method="simclr", augment="preserving")
    _, packed = both(store, config)
    batch = packed.batch(np.array([5, 1]))
    expected = make_views(batch, config, 1, FS, 0.3)
    calls = []
    augmented = batch.resident.augmented
    batch.resident.augmented = lambda *a, **k: calls.append(len(k["seeds"])) or augmented(*a, **k)
    assert "ecg" not in vars(batch)
    for a, b in zip(make_views(batch, config, 1, FS, 0.3), expected, strict=True):
        assert torch.equal(a, b)
    assert calls == [2] and "ecg" not in vars(batch)


def test_a_batch_stays_on_its_device_and_leaves_it_whole(store):
    _, packed = both(store)
    batch = packed.batch(np.array([5, 1]))
    assert batch.to(CPU) is batch and "ecg" not in vars(batch)
    moved = batch.to(torch.device("meta"))
    assert moved.ecg.shape == (4, 12, 2500) and moved.resident is None
    assert {x.device.type for x in vars(moved).values() if isinstance(x, torch.Tensor)} == {"meta"}


def test_batches_in_order_and_nothing_read_after_packing(store, monkeypatch):
    segments, packed = both(store, SMALL.replace(workers=2))
    for name in ("read", "rpeaks", "features"):
        monkeypatch.setattr(store, name, None)
    sampler = Sampler(len(segments), 8, 5)
    got = [b.record.tolist() for b in iterate(packed, sampler, 1, 6)]
    assert got == [np.repeat(segments.pairs[sampler(k), 0], 2).tolist() for k in range(1, 6)]


def test_packing_keeps_no_filtered_records():
    segments, _ = both(FakeStore(10))
    assert not len(segments.cache)


@pytest.mark.parametrize("more", [{"method": "physioclr"}, {"method": "simclr", "augment": "preserving"}],
                         ids=["physioclr", "simclr"])  # fmt: skip
def test_a_run_resumes_to_the_bit(store, tmp_path, more):
    config, whole, split = SMALL.replace(**more), tmp_path / "whole", tmp_path / "split"
    result = pretrain(store, whole, config)
    assert result.status == "finished" and result.step == 3 and np.isfinite(result.metrics["loss"])
    assert pretrain(store, split, config, stop_after=1).status == "stopped"
    assert pretrain(store, split, config, resume=True).step == 3
    a, b = (load_file(checkpoint.latest(run) / checkpoint.WEIGHTS) for run in (whole, split))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    host = pretrain(store, tmp_path / "host", config.replace(resident=False))
    assert host.metrics["loss"] == pytest.approx(result.metrics["loss"], rel=1e-2)  # differs by the quantisation alone


def test_a_run_does_not_change_between_resident_and_not(store, tmp_path):
    pretrain(store, tmp_path / "run", SMALL, stop_after=1)
    with pytest.raises(ValueError, match="resident is False and was True"):
        pretrain(store, tmp_path / "run", SMALL.replace(resident=False), resume=True)


def test_too_little_memory_is_an_error_before_anything_is_packed(store, monkeypatch):
    segments = Segments(store, SMALL)
    monkeypatch.setattr(resident, "free_bytes", lambda device: estimate_bytes(segments) - 1)
    with pytest.raises(ValueError, match=r"resident is true, but 22 segments need about 1 MiB and cpu has 1 MiB free"):
        ResidentSegments(segments, CPU)  # without a feature space: that would be the next error


def test_estimate_is_what_is_allocated(store):
    segments, packed = both(store, SMALL.replace(feature_components=1000))
    held = (packed.signals, packed.scale, packed.rpeaks, packed.features, packed.group, packed.sample_id, packed.labels)
    assert sum(x.nbytes for x in held) == pytest.approx(estimate_bytes(segments), rel=0.01)


@pytest.mark.cuda
@NO_GPU
@pytest.mark.parametrize("config", CASES[:9], ids=lambda c: f"{c.method}-{c.augment}-{c.shuffle_cut}")
def test_cuda_gives_batches_and_views_of_the_cpu(store, config):
    segments, packed = both(store, config)
    here, there = packed.batch(np.array([5, 1])), ResidentSegments(segments, "cuda").batch(np.array([5, 1]))
    for name in ("ecg", "rpeaks", "features", "group", "pair", "sample_id", "labels"):
        x = getattr(there, name)
        assert x.is_cuda
        torch.testing.assert_close(x.cpu(), getattr(here, name), rtol=0, atol=0, equal_nan=True)
    for a, b in zip(make_views(here, config, 2, FS, 0.3), make_views(there, config, 2, FS, 0.3), strict=True):
        torch.testing.assert_close(a, b.cpu())
