import torch


def hybrid_contrastive_loss(
    anchor, views, features, group=None, *, tau=0.1, delta=0.25, mode="ratio", tau_s=0.1, pair_reduction="sum"
):
    """(loss, positives, negatives, skipped), float64, by the formulas in physioclr.hybrid_contrastive_loss.

    Differentiable by autograd. Every N x N matrix is written out.
    """
    n = len(anchor)
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

    s = h @ h.T / tau
    t = (h[None] * v).sum(dim=2).T / tau  # (N, V)
    rows = (positives + len(views) > 0) & ((negatives if mode == "ratio" else positives + negatives) > 0)
    losses = []
    for i in torch.nonzero(rows).flatten():
        if mode == "ratio":
            own = s[i][pos[i]]
            if pair_reduction == "mean" and len(own):
                own = own - torch.log(positives[i].double())
            losses.append(torch.logsumexp(s[i][neg[i]], 0) - torch.logsumexp(torch.cat([t[i], own]), 0))
            continue
        logits = torch.cat([t[i], s[i][pair[i]]])
        log_softmax = logits - torch.logsumexp(logits, 0)
        if mode == "supcon":
            chosen = torch.cat([torch.ones(len(views), dtype=torch.bool), pos[i][pair[i]]])
            losses.append(-log_softmax[chosen].mean())
        else:
            target = torch.cat([torch.ones(len(views), dtype=torch.float64), similarity[i][pair[i]]])
            losses.append(-(torch.softmax(target / tau_s, 0) * log_softmax).sum())
    loss = torch.stack(losses).mean() if losses else (anchor.double().sum() + views.double().sum()) * 0.0
    return loss, positives, negatives, n - len(losses)
