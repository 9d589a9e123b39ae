"""What the rows of a contrastive loss were compared with: one type for all losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from torch import Tensor


class ContrastiveStats(NamedTuple):
    """What the rows of a contrastive loss were compared with.

    Of R rows: those of the anchor (`hybrid_contrastive_loss`, `supcon`), and where b's rows are anchors too those of a,
    then of b. With a process group the rows of all processes; those passed in alone from `hybrid_contrastive_loss` and
    in a ring. Alignment and uniformity are always of the whole batch, from the pass that makes the loss, in O(N D)
    memory.

    positives: (R,) int64, the other rows that are positive, |P_i|: by physiology, or of the same label. Views and
        partners are not counted, so 0 where these alone are positive.
    negatives: (R,) int64, the other rows that it was compared with; |N_i|.
    skipped: () int64, the rows that are not part of the mean.
    effective_positives: (R,) float64, (sum w)^2 / sum w^2 of the weights w of the row's positives, views and partner
        among them: their number where they weigh the same, 1 where one has all the weight (Kish 1965). With targets
        ("soft", `soft_contrast`, `y_aware_info_nce`) w are the targets of all that it is compared with. 0 in a row that
        is skipped.
    alignment: () float64, mean squared distance |h - k|^2 of a row's positives, views and partner, the mean over the
        rows that count; 0 is best (Wang & Isola 2020).
    uniformity: () float64, log of the mean of exp(-2 |h - k|^2) over the pairs of rows that are compared, without
        views, partners and negatives=; -4 is best, nearly. NaN where there is no such pair.
    """

    positives: Tensor
    negatives: Tensor
    skipped: Tensor
    effective_positives: Tensor = cast("Tensor", None)  # the losses give all of them
    alignment: Tensor = cast("Tensor", None)
    uniformity: Tensor = cast("Tensor", None)


PairStats = ContrastiveStats


def statistics(
    counts: Any, skipped: Any, measures: Any, used: Any, queue: int = 0, process_group: Any = None
) -> ContrastiveStats:
    """From counts and measures (core/contrastive_calls.h) and which rows are part of the mean.

    queue: further negatives of every anchor. process_group: over which the anchors are spread.
    """
    effective, distance, closeness = measures.unbind(1)
    pairs = (counts.clamp(min=0).sum(1) - queue * (counts[:, 0] >= 0)).sum()
    sums: Any = distance.where(used, 0.0).sum(), used.sum(), closeness.sum(), pairs
    if process_group is not None:
        import torch

        sums = torch.stack([x.double() for x in sums])
        torch.distributed.all_reduce(sums, group=process_group)
    alignment, uniformity = sums[0] / sums[1], (sums[2] / sums[3]).log()
    return ContrastiveStats(counts[:, 0], counts[:, 1], skipped, effective.where(used, 0.0), alignment, uniformity)
