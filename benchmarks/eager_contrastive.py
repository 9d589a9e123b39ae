"""The contrastive losses of bench_contrastive.py in eager PyTorch, N x N arrays and all."""

import torch
import torch.nn.functional as F

TAU, DELTA = 0.1, 0.25
SIGMA = 10.0  # of y-aware InfoNCE: the median distance of such features


def unit(x):
    return F.normalize(x, dim=-1)


def hybrid_eager(anchor, views, features):
    h, v, f = (unit(x) for x in (anchor, views, features))
    similarity = f @ f.T
    e = torch.exp(h @ h.T / TAU)
    positive = (similarity >= DELTA).fill_diagonal_(False)
    negative = similarity < DELTA
    pos = (e * positive).sum(1) + torch.exp((h * v).sum(-1) / TAU).sum(0)
    return (torch.log((e * negative).sum(1)) - torch.log(pos)).mean()


def info_nce_eager(a, b):
    logits, index = unit(a) @ unit(b).T / TAU, torch.arange(len(a))
    return (F.cross_entropy(logits, index) + F.cross_entropy(logits.T, index)) / 2


def one_sided_eager(a, b):
    return F.cross_entropy(unit(a) @ unit(b).T / TAU, torch.arange(len(a)))


def across(a, b, targets):
    """Symmetric cross-entropy from targets whose rows sum to 1; they are symmetric but for that."""
    logits = unit(a) @ unit(b).T / TAU
    return -sum((targets * torch.log_softmax(x, 1)).sum(1).mean() for x in (logits, logits.T)) / 2


def y_aware_eager(a, b, f):
    w = torch.exp(-torch.cdist(f, f).square() / (2 * SIGMA**2))
    return across(a, b, w / w.sum(1, keepdim=True))


def soft_eager(a, b, f):
    u = unit(f)
    return across(a, b, torch.softmax((u @ u.T).fill_diagonal_(1.0) / TAU, 1))


def nt_xent_eager(a, b):
    h, n = unit(torch.cat([a, b])), len(a)
    logits = (h @ h.T / TAU).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * n).roll(n))


def supcon_eager(x, labels):
    h, itself = unit(x), torch.eye(len(x), dtype=torch.bool)
    positive = (labels[:, None] == labels) & ~itself
    log_softmax = torch.log_softmax((h @ h.T / TAU).masked_fill(itself, -torch.inf), 1)
    return -(torch.where(positive, log_softmax, 0.0).sum(1) / positive.sum(1)).mean()
