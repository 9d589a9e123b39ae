import numpy as np


def physio_similarity(a, b=None, *, kernel="cosine", sigma=None, threshold=None, packed=False):
    """(N, M) similarity; see physioclr.physio_similarity for the meaning of the arguments."""
    a = np.asarray(a, dtype=np.float64)
    b = a if b is None else np.asarray(b, dtype=np.float64)
    if kernel == "cosine":
        norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :]
        s = np.divide(a @ b.T, norms, out=np.zeros_like(norms), where=norms > 0)
    else:
        d2 = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
        if sigma is None:
            d2aa = ((a[:, None, :] - a[None, :, :]) ** 2).sum(axis=2)
            sigma = np.median(np.sqrt(d2aa[np.triu_indices(len(a), 1)]))
        s = np.exp(-d2 / (2 * sigma**2))
    if threshold is None:
        return s
    return np.packbits(s >= threshold, axis=1) if packed else s >= threshold
