"""The hybrid contrastive loss: views of a segment and segments of like physiology attract, all others repel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from .._arrays import TorchArrays, is_torch, kind_of
from . import autograd
from .stats import ContrastiveStats, statistics

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

    from .._types import Values

    class _Options(TypedDict, total=False):
        """What hybrid_contrastive_loss takes by name, return_stats aside, which decides the type of the result."""

        tau: float | Tensor
        delta: float
        mode: str
        tau_s: float
        pair_reduction: str
        process_group: ProcessGroup | None


@overload
def hybrid_contrastive_loss(
    anchor: Tensor,
    views: Tensor | None,
    features: Tensor,
    group: Values | None = ...,
    *,
    return_stats: Literal[False] = ...,
    **options: Unpack[_Options],
) -> Tensor: ...
@overload
def hybrid_contrastive_loss(
    anchor: Tensor,
    views: Tensor | None,
    features: Tensor,
    group: Values | None = ...,
    *,
    return_stats: Literal[True],
    **options: Unpack[_Options],
) -> tuple[Tensor, ContrastiveStats]: ...
def hybrid_contrastive_loss(
    anchor: Any,
    views: Any,
    features: Any,
    group: Any = None,
    *,
    tau: Any = 0.1,
    delta: float = 0.25,
    mode: str = "ratio",
    tau_s: float = 0.1,
    pair_reduction: str = "sum",
    process_group: Any = None,
    ring: bool = False,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, ContrastiveStats]:
    """Contrastive term of PhysioCLR (arXiv 2509.08116), exact for any N in O(N) memory.

    With h the L2-normalised embeddings, S the cosine similarity of the features and g the group, row i has
    the positives P_i = {j : g_j != g_i, S_ij >= delta} and the negatives N_i = {j : g_j != g_i, S_ij < delta}. Rows
    whose features are all zero form no pairs. The result is the mean of L_i over the rows that have at least one
    negative ("supcon" and "soft": one pair of either kind) and at least one positive or view; 0 if there is none.

        "ratio"   L_i = -log(sum_v exp(h_i.v_i / tau) + c_i sum_{P_i} exp(h_i.h_j / tau))
                        + log sum_{N_i} exp(h_i.h_j / tau),
                  c_i = 1 (pair_reduction "sum", as published) or 1 / |P_i| ("mean"). It may be negative.
        "supcon"  minus the mean over views and P_i of log softmax, the softmax over views, P_i and N_i
                  (Khosla et al., 2020, L_out).
        "soft"    cross-entropy from softmax(S_ij / tau_s), where a view has S = 1, to softmax(h_i.h_j / tau), both
                  over views, P_i and N_i. delta then only decides which rows count and what the statistics say.

    Each unordered pair is computed once in the forward and once in the backward pass, tile by tile. Embeddings need not
    be normalised; an all-zero embedding stays zero and gets no gradient. float16 and bfloat16 are computed in float32,
    float64 in float64; of bfloat16 a CPU with avx512_bf16 rounds the coefficients of the gradient to that dtype, while
    the loss keeps its accuracy. Derivatives in reverse and forward mode (torch.func.grad, torch.func.jvp; with
    process_group in reverse mode alone); not twice differentiable.

    On a CUDA device nothing waits for the device, and the same inputs give the same bits. With D up to 256 and F up to
    64 all dtypes but float64 run on tensor cores (compute capability 8.0 or newer; float32 with D above 128: 9.0).
    float16 and bfloat16 round the coefficients of the gradient to that dtype. float32 keeps its accuracy, unless
    `torch.backends.cuda.matmul` allows TF32: embeddings and coefficients are then rounded to its 11 significant bits.

    Args:
        anchor: (N, D) torch tensor, the embeddings. Gradient.
        views: (V, N, D) embeddings of V other views of each segment, V >= 0; None for V = 0. Gradient.
        features: (N, F) physiological features, finite (FeatureSpace.transform). No gradient.
        group: (N,) integers, the patient or record of each row: rows of one group are neither positives nor
            negatives of each other. None: every row is its own record.
        tau: temperature, above 0: a number, or a 0-d floating tensor, which gets its exact gradient (on a CUDA device
            reading it waits; not with process_group).
        delta: least similarity of a positive, from -1 to 1.
        mode: "ratio", "supcon" or "soft".
        tau_s: temperature of the targets of "soft".
        pair_reduction: "sum" or "mean", used by "ratio".
        process_group: a torch.distributed process group over which the batch is spread. Every process passes its own
            rows (their number may differ) and gets the loss of the whole batch; its gradients are exactly dL/d(its
            rows), not scaled. DistributedDataParallel averages over processes, so multiply the whole loss by the world
            size there. Group ids are compared across processes. Not for torch.compile.
        ring: with a process group, blocks of rows travel from process to process instead of being gathered: O(N D /
            processes) memory in each, the same loss and gradients.
        return_stats: also return `ContrastiveStats` of the rows passed in, on every process or on none.

    Returns:
        The loss, a 0-d tensor (float64 if an embedding is, otherwise float32); with return_stats (loss, stats).

    Raises:
        TypeError: anything but torch tensors.
        ValueError: shapes that do not fit, settings out of range, anything but anchor and views that requires a
            gradient, NaN or infinite features (on a CUDA device they give a NaN loss: the check would have to wait for
            the device). NaN embeddings give a NaN loss.

    Warns:
        RuntimeWarning: all rows are skipped, and why; once in a process, and on the CPU alone.
    """
    if not is_torch(anchor):
        raise TypeError(f"anchor is a {kind_of(anchor)} array; hybrid_contrastive_loss takes torch tensors")
    import torch

    if views is None:
        views = anchor.new_empty((0, *anchor.shape))
    for x, name in ((views, "views"), (features, "features")):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name} is a {kind_of(x)} array; it must be a torch tensor, as anchor is")
        if x.device != anchor.device:
            raise ValueError(f"{name} is on {x.device}; it must be on {anchor.device}, as anchor is")
    if isinstance(group, torch.Tensor):
        group = group.to(anchor.device)
    elif group is not None:
        group = TorchArrays(anchor).adopt(group, "group")
    temperature = None
    if isinstance(tau, torch.Tensor):
        if process_group is not None and tau.requires_grad:
            raise ValueError("tau requires a gradient, which process_group does not give; pass float(tau)")
        temperature, tau = (tau.to(anchor.device), 1.0) if process_group is None else (None, float(tau))
    settings = (tau, delta, mode, tau_s, pair_reduction)
    inputs = anchor, views, features, group
    if process_group is None:
        if not return_stats:
            return autograd.hybrid_contrastive_loss.first(*inputs, *settings, temperature, False)
        loss, _, counts, skipped, measures = autograd.hybrid_contrastive_loss(
            *inputs, *settings, temperature, return_stats
        )
    elif ring:
        from .ring_hybrid import hybrid_contrastive_loss_in_ring as of_ring

        loss, counts, skipped, measures = of_ring(*inputs, settings, process_group, return_stats)
    else:
        from .group import hybrid_contrastive_loss_of_group as of_group

        loss, counts, skipped, measures = of_group(*inputs, settings, process_group, return_stats)
    if not return_stats:
        return loss
    used = autograd.used(counts, len(views), mode)
    return loss, statistics(counts, skipped, measures, used, 0, process_group)
