from __future__ import annotations

import torch

from .. import _launch
from . import define


def _fake(ecg, rpeaks=None, sample_id=None, scale=None, plan="", fs=500.0, seeds=(0,), dtype=""):
    shape, dtype = _launch.augment_shape(ecg, rpeaks, sample_id, scale, plan, fs, seeds, dtype)
    peaks = (shape[0], shape[1], 0 if rpeaks is None else rpeaks.shape[1])
    return (
        torch.empty(shape, dtype=getattr(torch, dtype), device=ecg.device),
        torch.empty(peaks, dtype=torch.int32, device=ecg.device),
        torch.empty(peaks[:2], dtype=torch.int32, device=ecg.device),
    )


def _fake_bwd(grad, rpeaks=None, sample_id=None, plan="", fs=500.0, seeds=(0,)):
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    return torch.empty(grad.shape[1:], dtype=dtype, device=grad.device)


def _setup(ctx, inputs, output):
    ecg, rpeaks, sample_id, _, *settings, _ = inputs
    ctx.settings, ctx.dtype = settings, ecg.dtype
    ctx.save_for_backward(rpeaks, sample_id)
    ctx.mark_non_differentiable(output[1], output[2])


def _backward(ctx, grad, _index, _count):
    rpeaks, sample_id = ctx.saved_tensors
    grad_ecg = augment_bwd(grad, rpeaks, sample_id, *ctx.settings).to(ctx.dtype)
    return grad_ecg, None, None, None, None, None, None, None


augment_bwd = define(
    "augment_bwd(Tensor grad, Tensor? rpeaks=None, Tensor? sample_id=None, str plan='', float fs=500.0, "
    "int[] seeds=[0]) -> Tensor",
    _launch.augment_bwd,
    _fake_bwd,
)

augment = define(
    "augment(Tensor ecg, Tensor? rpeaks=None, Tensor? sample_id=None, Tensor? scale=None, str plan='', float fs=500.0, "
    "int[] seeds=[0], str dtype='') -> (Tensor, Tensor, Tensor)",
    _launch.augment,
    _fake,
    setup_context=_setup,
    backward=_backward,
)


def _fake_out(ecg, out, rpeaks=None, sample_id=None, scale=None, plan="", fs=500.0, seeds=(0,)):
    dtype = str(out.dtype).removeprefix("torch.")
    _launch.check_out(out, _launch.augment_shape(ecg, rpeaks, sample_id, scale, plan, fs, seeds, dtype)[0])
    return _fake(ecg, rpeaks, sample_id, scale, plan, fs, seeds, dtype)[1:]


augment_out = define(
    "augment_out(Tensor ecg, Tensor(a!) out, Tensor? rpeaks=None, Tensor? sample_id=None, Tensor? scale=None, "
    "str plan='', float fs=500.0, int[] seeds=[0]) -> (Tensor, Tensor)",
    _launch.augment_out,
    _fake_out,
)


def _fake_gather(
    signals, rows, starts, length, rpeaks=None, sample_id=None, scale=None, plan="", fs=500.0, seeds=(0,), dtype=""
):
    shape, dtype = _launch.gather_shape(signals, rows, starts, length, rpeaks, sample_id, scale, plan, fs, seeds, dtype)
    peaks = (shape[0], shape[1], 0 if rpeaks is None else rpeaks.shape[1])
    return (
        torch.empty(shape, dtype=getattr(torch, dtype), device=signals.device),
        torch.empty(peaks, dtype=torch.int32, device=signals.device),
        torch.empty(peaks[:2], dtype=torch.int32, device=signals.device),
    )


augment_gather = define(
    "augment_gather(Tensor signals, Tensor rows, Tensor starts, int length, Tensor? rpeaks=None, "
    "Tensor? sample_id=None, Tensor? scale=None, str plan='', float fs=500.0, int[] seeds=[0], str dtype='') "
    "-> (Tensor, Tensor, Tensor)",
    _launch.augment_gather,
    _fake_gather,
)


def _shuffle_fake(ecg, rpeaks, sample_id=None, seed=0, cut="r", fs=500.0):
    return tuple(x[0] for x in _fake(ecg, rpeaks, sample_id, None, _launch.shuffle_plan(cut), fs, (seed,)))


def _shuffle_setup(ctx, inputs, output):
    ecg, rpeaks, sample_id, *ctx.settings = inputs
    ctx.dtype = ecg.dtype
    ctx.save_for_backward(rpeaks, sample_id)
    ctx.mark_non_differentiable(output[1], output[2])


def _shuffle_backward(ctx, grad, _index, _count):
    rpeaks, sample_id = ctx.saved_tensors
    return shuffle_beats_bwd(grad, rpeaks, sample_id, *ctx.settings).to(ctx.dtype), None, None, None, None, None


shuffle_beats_bwd = define(
    "shuffle_beats_bwd(Tensor grad, Tensor rpeaks, Tensor? sample_id=None, int seed=0, str cut='r', float fs=500.0) "
    "-> Tensor",
    _launch.shuffle_beats_bwd,
    lambda grad, *_: _fake_bwd(grad[None]),
)

shuffle_beats = define(
    "shuffle_beats(Tensor ecg, Tensor rpeaks, Tensor? sample_id=None, int seed=0, str cut='r', float fs=500.0) "
    "-> (Tensor, Tensor, Tensor)",
    _launch.shuffle_beats,
    _shuffle_fake,
    setup_context=_shuffle_setup,
    backward=_shuffle_backward,
)
