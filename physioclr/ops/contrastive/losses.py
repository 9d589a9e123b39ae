"""The contrastive losses of the field, each a form of `engine.contrastive_loss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from .._arrays import TorchArrays, is_torch, kind_of
from .._checks import check_dtype, check_ndim, check_number
from ..similarity import median_distance_of
from . import engine
from .cpu import IDS
from .stats import ContrastiveStats, statistics

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

    from .._types import Values

    Result = Tensor | tuple[Tensor, ContrastiveStats]

    class _Options(TypedDict, total=False):
        """What all losses take by name, return_stats aside, which decides the type of the result."""

        tau: float | Tensor
        process_group: ProcessGroup | None
        ring: bool

    class _Labelled(_Options, total=False):
        threshold: float

    class _Sided(_Options, total=False):
        symmetric: bool

    class _Queued(_Options, total=False):
        negatives: Tensor | None
        beta: float

    class _InfoNCE(_Sided, _Queued, total=False): ...

    class _YAware(_Sided, total=False):
        sigma: float | None

    class _Soft(_Sided, total=False):
        tau_s: float


def _loss(
    op: str,
    form: str,
    sides: int,
    tensors: dict[str, Any],
    settings: tuple[Any, ...],
    process_group: Any,
    ring: bool,
    stats: bool,
) -> Result:
    """tensors: a, b, negatives, features, group (supcon: labels, in the place of group)."""
    import torch

    tau, tau_s, delta = settings
    (_, a), *others = tensors.items()
    if not is_torch(a):
        raise TypeError(f"a is a {kind_of(a)} array; {op} takes torch tensors")
    for name, x in others:
        if x is None:
            continue
        if name in ("group", "labels"):
            if not isinstance(x, torch.Tensor):
                x = TorchArrays(a).adopt(x, name)
            tensors[name] = x.to(a.device)
        elif not isinstance(x, torch.Tensor):
            raise TypeError(f"{name} is a {kind_of(x)} array; it must be a torch tensor, as a is")
        elif x.device != a.device:
            raise ValueError(f"{name} is on {x.device}; it must be on {a.device}, as a is")
    a, b, negatives, features, group = tensors.values()
    temperature = None
    if isinstance(tau, torch.Tensor):
        temperature, tau = tau.to(a.device), 1.0
    last = (form, sides, delta, stats)
    if process_group is not None and ring:
        from .ring import ring_loss

        loss, counts, skipped, measures = ring_loss(
            a, b, negatives, features, group, temperature, tau, tau_s, *last, process_group
        )
    else:
        if process_group is not None:
            from .._collectives import gather_rows

            a, b = (x if x is None or x.dtype.itemsize > 2 else x.float() for x in (a, b))  # gloo may lack bfloat16
            gathered = (a, b, features, group)
            a, b, features, group = (None if x is None else gather_rows(x, process_group) for x in gathered)
        from .step import applies, contrastive_step

        arguments = a, b, negatives, features, group, temperature, tau, tau_s, *last
        if applies(a, b, temperature):
            loss, counts, skipped, measures = contrastive_step(*arguments)
        else:
            loss, _, counts, skipped, measures = engine.contrastive_loss(*arguments)
        if sides == 1 and stats:
            counts, skipped, measures = counts[: len(a)], skipped - len(a), measures[: len(a)]
        process_group = None
    if not stats:
        return loss
    queue = 0 if negatives is None else len(negatives)
    return loss, statistics(counts, skipped, measures, engine.used(counts, form), queue, process_group)


def uniformity(x: Tensor) -> Tensor:
    """log of the mean of exp(-2 |h_i - h_j|^2) over the pairs of rows of x, float64."""
    arguments = (x, *(None,) * 5, 0.1, 0.1, "instance", 0, 2.0, True)
    *_, measures = engine.contrastive_loss(*arguments)
    return (measures[:, 2].sum() / (len(x) * (len(x) - 1) or float("nan"))).log()


def _negatives(beta: Any) -> tuple[str, float]:
    """The form for hard negatives, and its delta."""
    import torch

    if is_torch(beta) and beta.requires_grad and torch.is_grad_enabled():
        raise ValueError("beta requires a gradient, which the loss does not give; pass float(beta)")
    check_number(beta, "beta", 0, float("inf"))
    return ("hard", float(beta)) if beta > 0 else ("instance", 2.0)


@overload
def info_nce(
    a: Tensor, b: Tensor, group: Values | None = ..., *, return_stats: Literal[False] = ..., **options: Unpack[_InfoNCE]
) -> Tensor: ...
@overload
def info_nce(
    a: Tensor, b: Tensor, group: Values | None = ..., *, return_stats: Literal[True], **options: Unpack[_InfoNCE]
) -> tuple[Tensor, ContrastiveStats]: ...
def info_nce(
    a: Tensor,
    b: Tensor,
    group: Any = None,
    *,
    tau: Any = 0.1,
    symmetric: bool = True,
    negatives: Tensor | None = None,
    beta: float = 0.0,
    process_group: Any = None,
    ring: bool = False,
    return_stats: bool = False,
) -> Result:
    """InfoNCE between two views: a_i is to find b_i among all b_j and, symmetric, b_i is to find a_i among all a_j.

    With h and k the L2-normalised rows of a and b, the mean over i of
    -log(exp(h_i.k_i / tau) / sum_j exp(h_i.k_j / tau)), and of the same with h and k exchanged. CLIP's
    loss (Radford et al. 2021), and with the two adjacent segments of a
    record that of CMSC (CLOCS, Kiyasseh et al. 2021, equation 1). Exact for any N in O(N D) memory, deterministic.

    Args:
        a, b: (N, D) torch tensors, the embeddings, need not be normalised. Gradient. float16 and bfloat16 are computed
            in float32, float64 in float64; for bfloat16 a CPU with avx512_bf16 rounds the coefficients of the gradient
            to it (the loss keeps its accuracy). On a CUDA device the float32 products follow torch's TF32 switch.
        group: (N,) integers; rows of the same group are no negatives of each other. None: all are.
        tau: temperature, above 0: a number, or a 0-d floating tensor, which gets its exact gradient.
        symmetric: False: the rows of a alone are anchors.
        negatives: (M, D) further negatives of every anchor (a queue, MoCo); no gradient.
        beta: at least 0; hard negatives count more (Robinson et al. 2021, without their correction for false
            negatives): in the denominator each of a row's negatives has the weight exp(beta s / tau), s its cosine,
            over the mean of these. The gradient is that of the whole, weights included.
        process_group: a torch.distributed process group over which the batch is spread: each process passes its own
            rows, gets the loss of the whole batch and exactly dL/d(its rows), not scaled. negatives are not gathered,
            and a tensor tau gets the whole gradient on every process.
        ring: with a process group, blocks of rows travel from process to process instead of being gathered: O(N D /
            processes) memory and work in each, the same loss and gradients. Statistics are then of the own rows, but
            for skipped, alignment and uniformity.
        return_stats: also return `ContrastiveStats`.

    Returns:
        The loss, a 0-d tensor (float64 if an embedding is, otherwise float32); with return_stats (loss, stats).

    Raises:
        TypeError: anything but torch tensors.
        ValueError: shapes that do not fit, settings out of range, anything but a, b and tau that requires a gradient.
    """
    tensors = {"a": a, "b": b, "negatives": negatives, "features": None, "group": group}
    form, delta = _negatives(beta)
    return _loss("info_nce", form, 1 + bool(symmetric), tensors, (tau, 0.1, delta), process_group, ring, return_stats)


@overload
def nt_xent(
    a: Tensor, b: Tensor, group: Values | None = ..., *, return_stats: Literal[False] = ..., **options: Unpack[_Queued]
) -> Tensor: ...
@overload
def nt_xent(
    a: Tensor, b: Tensor, group: Values | None = ..., *, return_stats: Literal[True], **options: Unpack[_Queued]
) -> tuple[Tensor, ContrastiveStats]: ...
def nt_xent(
    a: Tensor,
    b: Tensor,
    group: Any = None,
    *,
    tau: Any = 0.1,
    negatives: Tensor | None = None,
    beta: float = 0.0,
    process_group: Any = None,
    ring: bool = False,
    return_stats: bool = False,
) -> Result:
    """NT-Xent (SimCLR, Chen et al. 2020, equation 1): each of the 2 N rows of a and b is to find its partner among all
    others. Arguments, results and errors as in `info_nce`."""
    tensors = {"a": a, "b": b, "negatives": negatives, "features": None, "group": group}
    form, delta = _negatives(beta)
    return _loss("nt_xent", form, 0, tensors, (tau, 0.1, delta), process_group, ring, return_stats)


@overload
def supcon(
    x: Tensor, labels: Values, *, return_stats: Literal[False] = ..., **options: Unpack[_Labelled]
) -> Tensor: ...
@overload
def supcon(
    x: Tensor, labels: Values, *, return_stats: Literal[True], **options: Unpack[_Labelled]
) -> tuple[Tensor, ContrastiveStats]: ...
def supcon(
    x: Tensor,
    labels: Any,
    *,
    tau: Any = 0.1,
    threshold: float = 0.5,
    process_group: Any = None,
    ring: bool = False,
    return_stats: bool = False,
) -> Result:
    """Supervised contrastive loss (Khosla et al. 2020, L_out): the mean over the rows of one label with another row of
    minus the mean over these of log softmax(h_i.h_j / tau), the softmax over all other rows.

    Several views of a segment are rows of their own, with its labels. Rows whose label nobody shares are skipped
    (`ContrastiveStats.skipped`); 0 where all are.

    Args:
        x: (N, D). Gradient.
        labels: (N,) integers; or (N, C) of a bool or integer dtype, not 0 where the row has the label: two rows are
            then of one label where their sets of labels share at least the part `threshold` of the union (Jaccard
            index). A row without labels has no positive.
        threshold: above 0 and at most 1. The rest as in `info_nce`.
    """
    if labels is None:
        raise TypeError("labels is None; it must be (N,) integers or (N, C) bool or integers")
    tensors = {"a": x, "b": None, "negatives": None, "features": None, "labels": labels}
    form = "labels"
    if is_torch(x):
        labels = TorchArrays(x).adopt(labels, "labels")
        check_dtype(labels, "labels", ("bool", *IDS))
    if getattr(labels, "ndim", 1) == 2:
        tensors |= {"features": (labels != 0).to(engine.computed(x)), "labels": None}
        form = "jaccard"
    return _loss("supcon", form, 0, tensors, (tau, 0.1, threshold), process_group, ring, return_stats)


@overload
def y_aware_info_nce(
    a: Tensor,
    b: Tensor,
    features: Tensor,
    group: Values | None = ...,
    *,
    return_stats: Literal[False] = ...,
    **options: Unpack[_YAware],
) -> Tensor: ...
@overload
def y_aware_info_nce(
    a: Tensor,
    b: Tensor,
    features: Tensor,
    group: Values | None = ...,
    *,
    return_stats: Literal[True],
    **options: Unpack[_YAware],
) -> tuple[Tensor, ContrastiveStats]: ...
def y_aware_info_nce(
    a: Tensor,
    b: Tensor,
    features: Tensor,
    group: Any = None,
    *,
    tau: Any = 0.1,
    sigma: float | None = None,
    symmetric: bool = True,
    process_group: Any = None,
    ring: bool = False,
    return_stats: bool = False,
) -> Result:
    """y-Aware InfoNCE (Dufumier et al. 2021, arXiv 2106.08808): InfoNCE in which every b_j is positive for a_i, with
    the weight w_ij = exp(-|f_i - f_j|^2 / (2 sigma^2)) of their features, normalised over j.

    The mean over i of -sum_j w_ij / (sum_k w_ik) log softmax_j(h_i.k_j / tau), without the constant log N of the
    paper's mean in the denominator. Rows of another record of the same group are left out of both.

    Args:
        features: (N, F), finite. No gradient. sigma: width; None: the median distance of at most 512 rows, which waits
            for a CUDA device. The rest as in `info_nce`.
    """
    import torch

    if not is_torch(features):
        raise TypeError(f"features is a {kind_of(features)} array; it must be a torch tensor, as a is")
    check_ndim(features, "features", (2,), "(N, F)")
    given: tuple[tuple[Any, str, str], ...] = (
        (features, "features", "features.detach()"),
        (sigma, "sigma", "float(sigma)"),
    )
    for x, name, instead in given:
        if is_torch(x) and x.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} requires a gradient, which y_aware_info_nce does not give; pass {instead}")
    if process_group is not None:
        from .._collectives import gather_rows

        whole = gather_rows(features, process_group)
    else:
        whole = features
    if sigma is None:
        sigma = median_distance_of(whole)
    else:
        check_number(sigma, "sigma", 0, float("inf"), open_low=True)
    # about their mean, so that |f_i|^2 + |f_j|^2 - 2 f_i.f_j loses nothing
    features = ((features.double() - whole.double().mean(0)) / sigma).to(engine.computed(a, b))
    tensors = {"a": a, "b": b, "negatives": None, "features": features, "group": group}
    return _loss(
        "y_aware_info_nce", "distance", 1 + bool(symmetric), tensors, (tau, 1.0, 2.0), process_group, ring, return_stats
    )


@overload
def soft_contrast(
    a: Tensor,
    b: Tensor,
    features: Tensor,
    group: Values | None = ...,
    *,
    return_stats: Literal[False] = ...,
    **options: Unpack[_Soft],
) -> Tensor: ...
@overload
def soft_contrast(
    a: Tensor,
    b: Tensor,
    features: Tensor,
    group: Values | None = ...,
    *,
    return_stats: Literal[True],
    **options: Unpack[_Soft],
) -> tuple[Tensor, ContrastiveStats]: ...
def soft_contrast(
    a: Tensor,
    b: Tensor,
    features: Tensor,
    group: Any = None,
    *,
    tau: Any = 0.1,
    tau_s: float = 0.1,
    symmetric: bool = True,
    process_group: Any = None,
    ring: bool = False,
    return_stats: bool = False,
) -> Result:
    """Cross-entropy from the similarities of the features to those of the embeddings: targets softmax_j(S_ij / tau_s),
    S the cosine of the features and 1 for the partner, predictions softmax_j(h_i.k_j / tau).

    Rows whose features are all 0 meet their partner alone, and rows of another record of the same group are left out.
    A row that meets nobody else is skipped.

    Args:
        features: (N, F), finite. No gradient. tau_s: temperature of the targets. The rest as in `info_nce`.
    """
    tensors = {"a": a, "b": b, "negatives": None, "features": features, "group": group}
    return _loss(
        "soft_contrast", "cosine", 1 + bool(symmetric), tensors, (tau, tau_s, 2.0), process_group, ring, return_stats
    )
