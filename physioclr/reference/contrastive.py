import torch


def hybrid_contrastive_loss(
    anchor, views, features, group=None, *, tau=0.1, delta=0.25, mode="ratio", tau_s=0.1, pair_reduction="sum"
):
    """(loss, positives, negatives, skipped), float64, by the formulas in physioclr.hybrid_contrastive_loss.

    Differentiable by autograd. Every N x N matrix is written out.
    """
    n, n_views = len(anchor), len(views)
    h = torch.nn.functional.normalize(anchor.double(), dim=1)
    v = torch.nn.functional.normalize(views.double(), dim=2)
    f = features.double()
    zero = (f == 0).all(dim=1)
    f = torch.nn.functional.normalize(f, dim=1)
    similarity = f @ f.T
    group = torch.arange(n) if group is None else torch.as_tensor(group)
    pair = (group[:, None] != group[None, :]) & ~zero[:, None] & ~zero[None, :]
    pos, neg = pair & (similarity >= delta), pair & (similarity < delta)
    positives, negatives = pos.sum(dim=1), neg.sum(dim=1)
    rows = (positives + n_views > 0) & ((negatives if mode == "ratio" else positives + negatives) > 0)
    if not rows.any():
        return (anchor.double().sum() + views.double().sum()) * 0.0, positives, negatives, n

    # candidates of a row: the views first, then all rows; an excluded one has logit -inf
    logits = torch.cat([(h[None] * v).sum(dim=2).T, h @ h.T], dim=1)[rows] / tau
    pos, neg = (torch.nn.functional.pad(m, (n_views, 0))[rows] for m in (pos, neg))
    view = torch.arange(n_views + n).expand_as(pos) < n_views

    def masked(x, keep):
        return torch.where(keep, x, -torch.inf)

    if mode == "ratio":
        count = positives[rows, None].clamp(min=1).double()
        weighted = logits - torch.where(pos, torch.log(count), 0.0) if pair_reduction == "mean" else logits
        losses = torch.logsumexp(masked(logits, neg), 1) - torch.logsumexp(masked(weighted, view | pos), 1)
    else:
        candidates = view | pos | neg
        log_softmax = logits - torch.logsumexp(masked(logits, candidates), 1, keepdim=True)
        if mode == "supcon":
            target = (view | pos).double() / (view | pos).sum(dim=1, keepdim=True)
        else:
            s = torch.nn.functional.pad(similarity, (n_views, 0), value=1.0)[rows]
            target = torch.softmax(masked(s / tau_s, candidates), 1)
        losses = -(target * torch.where(candidates, log_softmax, 0.0)).sum(dim=1)
    return losses.mean(), positives, negatives, n - len(losses)
