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


def _softmax_loss(logits, candidates, targets):
    """Per row: cross-entropy from the targets (N, M), normalised here, to the softmax over the candidates."""
    log_softmax = logits - torch.logsumexp(torch.where(candidates, logits, -torch.inf), 1, keepdim=True)
    targets = targets / targets.sum(dim=1, keepdim=True)
    return -(targets * torch.where(candidates, log_softmax, 0.0)).sum(dim=1)


def _unit(x):
    return torch.nn.functional.normalize(x.double(), dim=1)


def _pairs(n, group):
    """(N, N): rows of different groups, and each row with itself."""
    group = torch.arange(n) if group is None else torch.as_tensor(group)
    return (group[:, None] != group[None, :]) | torch.eye(n, dtype=torch.bool)


def _hard_loss(logits, candidates, partner, beta):
    """Per row: -log(e^l+ / (e^l+ + sum of w_j e^l_j over the negatives)), w_j = e^(beta l_j) over the mean of these."""
    negative = candidates & (partner == 0)
    l = torch.where(negative, logits, -torch.inf)  # noqa: E741
    hard = torch.logsumexp((1 + beta) * l, 1) - torch.logsumexp(beta * l, 1) + torch.log(negative.sum(1).double())
    own = (logits * partner).sum(1)
    return torch.where(negative.any(1), torch.nn.functional.softplus(hard - own), 0.0)


def _instance_loss(logits, candidates, partner, beta):
    return _hard_loss(logits, candidates, partner, beta) if beta else _softmax_loss(logits, candidates, partner)


def _across(a, b, candidates, targets, tau, symmetric, negatives=None, rows=slice(None), beta=0.0):
    """Mean over the rows of a (symmetric: and of b), each against all rows of the other and the negatives."""
    losses = []
    for x, y in ((a, b), (b, a))[: 1 + symmetric]:
        h, k, c, t = _unit(x), _unit(y), candidates, targets
        if negatives is not None:
            k = torch.cat([k, _unit(negatives)])
            c, t = (torch.nn.functional.pad(m, (0, len(negatives)), value=v) for m, v in ((c, True), (t, 0.0)))
        losses.append(_instance_loss(h @ k.T / tau, c, t, beta)[rows])
    return torch.cat(losses).mean()


def info_nce(a, b, group=None, *, negatives=None, tau=0.1, symmetric=True, beta=0.0):
    """float64, by the formula in physioclr.info_nce; every N x N matrix is written out, as in all of these."""
    eye = torch.eye(len(a), dtype=torch.float64)
    return _across(a, b, _pairs(len(a), group), eye, tau, symmetric, negatives, beta=beta)


def nt_xent(a, b, group=None, *, negatives=None, tau=0.1, beta=0.0):
    """The mean over the 2 N rows of a and b, each against all others."""
    n, h = len(a), _unit(torch.cat([a, b]))
    itself = torch.eye(2 * n, dtype=torch.bool)
    candidates = _pairs(n, group).repeat(2, 2) & ~itself
    partner = itself.roll(n, 1).double()
    logits = h @ h.T / tau
    if negatives is not None:
        logits = torch.cat([logits, h @ _unit(negatives).T / tau], 1)
        candidates = torch.nn.functional.pad(candidates, (0, len(negatives)), value=True)
        partner = torch.nn.functional.pad(partner, (0, len(negatives)))
    return _instance_loss(logits, candidates, partner, beta).mean()


def supcon(x, labels, *, tau=0.1, threshold=0.5):
    """(loss, rows skipped): the mean over the rows that share their label with another."""
    n, h = len(x), _unit(x)
    other = ~torch.eye(n, dtype=torch.bool)
    if labels.ndim == 2:  # Jaccard index of the sets of labels
        has = labels != 0
        both = (has[:, None] & has[None]).sum(2)
        either = (has[:, None] | has[None]).sum(2)
        positive = (both.double() / either.clamp(min=1) >= threshold) & other
    else:
        positive = (labels[:, None] == labels[None, :]) & other
    rows = positive.any(dim=1)
    if not rows.any():
        return x.double().sum() * 0.0, n
    return _softmax_loss((h @ h.T / tau)[rows], other[rows], positive[rows].double()).mean(), n - int(rows.sum())


def y_aware_info_nce(a, b, features, group=None, *, tau=0.1, sigma=1.0, symmetric=True):
    f, pairs = features.double(), _pairs(len(a), group)
    weights = torch.exp(-(f[:, None] - f[None, :]).square().sum(dim=2) / (2 * sigma**2))
    return _across(a, b, pairs, weights * pairs, tau, symmetric, rows=pairs.sum(dim=1) > 1)


def soft_contrast(a, b, features, group=None, *, tau=0.1, tau_s=0.1, symmetric=True):
    f, n = _unit(features), len(a)
    known = (features != 0).any(dim=1)
    pairs = (_pairs(n, group) & known[:, None] & known[None, :]) | torch.eye(n, dtype=torch.bool)
    similarity = (f @ f.T).fill_diagonal_(1.0)
    return _across(a, b, pairs, torch.exp((similarity - 1) / tau_s) * pairs, tau, symmetric, rows=pairs.sum(dim=1) > 1)
