"""peak_reconstruction_loss: the operator gives sums per record; the mean over them is ordinary autograd.

So the backward operator needs one number per record, which stays on the device, and writes the gradient once.
"""

from __future__ import annotations

import torch

from .. import _launch
from . import define, no_double_backward


def _fake(x_hat, x, rpeaks, fs, window=0.04):
    _launch.check_peak_loss(x_hat, x, rpeaks, fs, window)
    return x_hat.new_empty(x.shape[:1], dtype=torch.float64), x_hat.new_empty(x.shape[:1], dtype=torch.int64)


def _fake_bwd(scale, x_hat, x, rpeaks, fs, window=0.04):
    _launch.check_peak_loss(x_hat, x, rpeaks, fs, window)
    return torch.empty(x.shape, dtype=getattr(torch, _launch.compute_dtype(x_hat)), device=x.device)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _backward(ctx, grad_sum, _):
    x_hat, x, rpeaks = ctx.saved_tensors
    # d sum[b] / d x_hat = 2 (x_hat - x) in the windows of record b
    grad = peak_reconstruction_loss_bwd(2 * grad_sum, x_hat, x, rpeaks, *ctx.settings)
    return grad.to(x_hat.dtype), None, None, None, None


def peak_reconstruction_loss(x_hat, x, rpeaks, fs, window):
    total, count = peak_reconstruction_sums(x_hat, x, rpeaks, fs, window)
    loss = total.sum() / count.sum().clamp(min=1)
    return loss.to(getattr(torch, _launch.compute_dtype(x_hat)))


peak_reconstruction_loss_bwd = define(
    "peak_reconstruction_loss_bwd(Tensor scale, Tensor x_hat, Tensor x, Tensor rpeaks, float fs, float window=0.04)"
    " -> Tensor",
    _launch.peak_reconstruction_loss_bwd,
    _fake_bwd,
    **no_double_backward("peak_reconstruction_loss"),
)
peak_reconstruction_sums = define(
    "peak_reconstruction_loss(Tensor x_hat, Tensor x, Tensor rpeaks, float fs, float window=0.04) -> (Tensor, Tensor)",
    _launch.peak_reconstruction_loss,
    _fake,
    setup_context=_setup,
    backward=_backward,
)
