import torch


def peak_reconstruction_loss(x_hat, x, rpeaks, fs, *, window=0.04):
    """Mean squared error over the union of the windows around the R peaks; see physioclr.peak_reconstruction_loss."""
    half = round(window * fs)
    time = torch.arange(x.shape[-1])
    inside = torch.zeros(x.shape, dtype=torch.bool)
    for b, peaks in enumerate(torch.as_tensor(rpeaks).tolist()):
        for r in peaks:
            if r >= 0:
                inside[b] |= (time - r).abs() <= half
    inside &= torch.isfinite(x)
    error = (x_hat - x)[inside]
    return error.square().sum() / max(error.numel(), 1)
