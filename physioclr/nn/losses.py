"""Training losses: the hybrid loss of PhysioCLR, and the contrastive losses of the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .. import ContrastiveStats, hybrid_contrastive_loss
from ..ops._types import rpeaks_index
from ..ops.contrastive import losses as ops
from ..ops.contrastive.losses import uniformity
from ..ops.reconstruction import near_peaks
from .collectives import global_sum

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from ..ops._types import Peaks


class HybridTerms(NamedTuple):
    """total = contrastive + alpha * reconstruction + beta * peak. `stats` is what hybrid_contrastive_loss reports."""

    total: Tensor
    contrastive: Tensor
    reconstruction: Tensor
    peak: Tensor
    stats: ContrastiveStats


class ReconstructionSums(NamedTuple):
    """Squared errors and how many samples they are of, one number per row: (N,) each. Means over rows come later."""

    squares: Tensor
    count: Tensor  # type: ignore[assignment]  # hides the method of tuple
    peak_squares: Tensor
    peak_count: Tensor


def global_mean(total: Tensor, count: Tensor, process_group: ProcessGroup | None = None) -> Tensor:
    """total / count over all processes, float32; 0 where nothing was counted."""
    return (global_sum(total, process_group) / global_sum(count, process_group).clamp_min(1)).float()


class _Settings(TypedDict):
    tau: float
    delta: float
    mode: str
    tau_s: float
    pair_reduction: str


class _SquaredErrors(torch.autograd.Function):
    """(N,) squared errors of each row over its valid samples, and those of them where `near` (N, T) is 1 (None: 0). The
    difference is written once, whatever the number of terms.
    """

    @staticmethod
    def forward(ctx: Any, x_hat: Tensor, x: Tensor, valid: Tensor | None, near: Tensor | None) -> tuple[Tensor, Tensor]:
        error = x_hat - x
        if valid is not None:
            error.masked_fill_(~valid, 0.0)  # not *: a missing sample may be NaN
        ctx.save_for_backward(error, near)
        ctx.dtype = x_hat.dtype
        squares = error.square().sum(1)  # (N, T)
        total = squares.sum(1)
        return total, torch.zeros_like(total) if near is None else squares.mul_(near).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_near: Tensor) -> tuple[Tensor, None, None, None]:
        error, near = ctx.saved_tensors
        weight = (2 * grad)[:, None]
        if near is not None:
            weight = weight + (2 * grad_near)[:, None] * near
        return (error * weight[:, None]).to(ctx.dtype), None, None, None


class HybridLoss(nn.Module):
    """contrastive + alpha * MSE + beta * peak MSE (PhysioCLR, arXiv 2509.08116).

    With a process group each process passes its own rows and gets the loss of the whole batch; its gradients are those
    of its rows, not scaled (see `physioclr.hybrid_contrastive_loss`).

    Args:
        tau, delta, mode, tau_s, pair_reduction: as in `physioclr.hybrid_contrastive_loss`.
        alpha, beta: weights of the reconstruction and of its error around the R peaks; 0 leaves the term out.
        fs: sampling rate of the reconstructed signal, Hz; window: half width around an R peak, seconds.
    """

    alpha: float
    beta: float
    fs: float
    window: float

    def __init__(
        self,
        *,
        tau: float = 0.1,
        delta: float = 0.25,
        mode: str = "ratio",
        tau_s: float = 0.1,
        pair_reduction: str = "sum",
        alpha: float = 0.2,
        beta: float = 0.1,
        fs: float = 500.0,
        window: float = 0.04,
    ):
        super().__init__()
        self.contrastive_settings: _Settings = {
            "tau": tau, "delta": delta, "mode": mode, "tau_s": tau_s, "pair_reduction": pair_reduction,
        }  # fmt: skip
        self.alpha, self.beta, self.fs, self.window = alpha, beta, fs, window

    def contrastive(
        self,
        anchor: Tensor,
        views: Tensor,
        features: Tensor,
        group: Tensor | None,
        process_group: ProcessGroup | None = None,
    ) -> tuple[Tensor, ContrastiveStats]:
        """The contrastive term, float32, and its statistics. 16-bit embeddings (autocast) are taken as they are: the op
        sums in float32, and on a CUDA device their products are the fastest."""
        return hybrid_contrastive_loss(
            anchor, views, features, group, **self.contrastive_settings, process_group=process_group, return_stats=True
        )

    def reconstruction_sums(
        self, x_hat: Tensor, x: Tensor, valid: Tensor | None, rpeaks: Peaks | None
    ) -> ReconstructionSums:
        """Squared errors of each row over its valid samples, and over those around its R peaks (0 where beta is 0).

        valid: None where every sample is: five passes over the batch fewer.
        """
        target, valid = x.float(), None if valid is None else valid.expand_as(x)
        if x_hat.dtype == torch.float64:
            x_hat = x_hat.float()
        near = near_peaks(rpeaks_index(rpeaks), target[:, 0], self.fs, self.window) if self.beta else None
        squares, peak = _SquaredErrors.apply(x_hat, target, valid, near)
        leads = torch.full(x.shape[::2], x.shape[1], device=x.device) if valid is None else valid.sum(1)  # (N, T)
        near_count = torch.zeros_like(leads[:, 0]) if near is None else (leads * near.bool()).sum(1)
        return ReconstructionSums(squares, leads.sum(1), peak, near_count)

    def reconstruction(
        self, x_hat: Tensor, x: Tensor, valid: Tensor, rpeaks: Peaks | None, process_group: ProcessGroup | None = None
    ) -> tuple[Tensor, Tensor]:
        """(MSE, peak MSE) over the valid samples; 0 where there is none."""
        sums = self.reconstruction_sums(x_hat, x, valid, rpeaks)
        return (
            global_mean(sums.squares.sum(), sums.count.sum(), process_group),
            global_mean(sums.peak_squares.sum(), sums.peak_count.sum(), process_group),
        )

    def forward(
        self,
        anchor: Tensor,
        views: Tensor,
        features: Tensor,
        group: Tensor | None = None,
        *,
        x_hat: Tensor | None = None,
        x: Tensor | None = None,
        valid: Tensor | None = None,
        rpeaks: Peaks | None = None,
        process_group: ProcessGroup | None = None,
    ) -> HybridTerms:
        """The hybrid loss of a batch.

        Args:
            anchor: (N, D) embeddings; views: (V, N, D) embeddings of each anchor's views.
            features: (N, F) rows of the feature space; group: (N,) int64 patient or record ids.
            x_hat, x: (N, L, T) reconstruction and its target; left out, the two terms are 0.
            valid: bool, broadcastable to x; false samples (missing, padded, not reached by the decoder) are skipped.
            rpeaks: R peaks of x, an `RPeaks` or (N, P) sample indices padded with -1.
        """
        contrastive, stats = self.contrastive(anchor, views, features, group, process_group)
        mse = peak = contrastive.new_zeros(())
        if x_hat is not None and (self.alpha or self.beta):
            if x is None:
                raise ValueError("x is None; a reconstruction x_hat needs its target")
            if rpeaks is None and self.beta:
                raise ValueError("rpeaks is None; the peak term (beta > 0) needs the R peaks of x")
            if valid is None:
                valid = torch.isfinite(x)
            mse, peak = self.reconstruction(x_hat, x, valid, rpeaks, process_group)
        return HybridTerms(contrastive + self.alpha * mse + self.beta * peak, contrastive, mse, peak, stats)

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward


def info_nce(
    a: Tensor, b: Tensor, group: Tensor | None = None, *, tau: float = 0.1, process_group: ProcessGroup | None = None
) -> Tensor:
    """Symmetric InfoNCE between two views: a_i is to find b_i among all b_j, and the other way round.

    `physioclr.info_nce` in float32. a, b: (N, D); group: (N,) ids; rows of the same group are no negatives of each
    other. With a, b the two adjacent segments of a record this is CMSC (CLOCS, Kiyasseh et al. 2021, equation 1).
    """
    return ops.info_nce(a.float(), b.float(), group, tau=tau, process_group=process_group)


def nt_xent(
    a: Tensor, b: Tensor, group: Tensor | None = None, *, tau: float = 0.1, process_group: ProcessGroup | None = None
) -> Tensor:
    """NT-Xent (SimCLR, Chen et al. 2020, equation 1) over 2 N views: the other 2 N - 2 rows are negatives.

    `physioclr.nt_xent` in float32. a, b: (N, D); group: (N,) ids; rows of the same group are no negatives of each
    other.
    """
    return ops.nt_xent(a.float(), b.float(), group, tau=tau, process_group=process_group)


@torch.no_grad()
def alignment_uniformity(anchor: Tensor, view: Tensor, rows: int | None = None) -> tuple[float, float]:
    """Alignment, mean |h - v|^2, and uniformity, log mean exp(-2 |h_i - h_j|^2), on the sphere (Wang & Isola 2020).

    Of all rows, in O(N) memory, or of the first `rows`. Lower is better in both; uniformity is NaN for a single row.
    """
    h, v = anchor[:rows].float(), view[:rows].float()
    alignment = (F.normalize(h, dim=1) - F.normalize(v, dim=1)).square().sum(1).mean()
    return float(alignment), float(uniformity(h))
