"""chunked_backward: one contrastive batch of N segments through the small encoder, in the memory of one chunk.

python benchmarks/bench_chunked.py [N] [--chunk C] [--views V]    time of a step, and peak memory of the whole process
python benchmarks/bench_chunked.py 96 --check                     gradients against one pass, in float64

The segments are the shipped recordings (80 records, 160 segments of 5 s, 12 leads, 500 Hz), each with noise and a gain
of its own that its number alone decides: a chunk is made when it is encoded, so that the memory for the input does not
limit N either. V views of each segment are drawn the same way. Two threads at most.
"""

import argparse
import resource
import time

import numpy as np
import torch

import physioclr as pc
from physioclr import nn


def recordings():
    """(160, 12, 2500) float32 mV, and a feature vector of each."""
    sample = pc.data.sample()
    ecg = np.concatenate([
        np.nan_to_num(pc.data.read_record(sample.path / r).millivolts()).reshape(12, 2, 2500).swapaxes(0, 1)
        for r in sample.record_ids
    ])  # fmt: skip
    features = pc.physio_features(ecg, 500.0)
    space = pc.FeatureSpace.fit(features)
    return torch.from_numpy(ecg), torch.from_numpy(space.transform(features))


def make(ecg, rows, n, dtype):
    """Segments of the batch by number: view row // n of segment row % n."""
    out = ecg[rows % n % len(ecg)].to(dtype)
    for k, row in enumerate(rows.tolist()):
        gen = torch.Generator().manual_seed(row)
        out[k] *= 0.8 + 0.4 * torch.rand((), generator=gen)
        out[k] += 0.05 * torch.randn(out.shape[1:], generator=gen)
    return out


class Model(torch.nn.Module):
    """The small encoder (ResNet1d, group normalisation: a row depends on itself alone), pooled and projected."""

    def __init__(self, dropout):
        super().__init__()
        self.encoder = nn.ResNet1d(norm="group")
        width = self.encoder.width
        self.head = torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(width, 128)
        )

    def forward(self, x):
        return self.head(self.encoder(x).pooled)


def batch(n, views, dtype):
    ecg, features = recordings()
    rows = torch.arange(n)
    features = features[rows % len(features)].to(dtype)
    group = rows % len(ecg) // 2

    def loss(h):
        return pc.hybrid_contrastive_loss(h[:n], h[n:].reshape(views, n, h.shape[1]), features, group)

    return lambda rows: make(ecg, rows, n, dtype), loss, torch.arange((views + 1) * n)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="?", default=1024)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    threads = min(2, torch.get_num_threads())
    torch.set_num_threads(threads)
    pc.set_num_threads(threads)
    dtype = torch.float64 if args.check else torch.float32
    torch.manual_seed(0)
    model = Model(dropout=0.0 if args.check else 0.1).to(dtype)
    segments, loss, rows = batch(args.segments, args.views, dtype)
    before, start, cpu = peak(), time.perf_counter(), time.process_time()
    value = nn.chunked_backward(lambda r: model(segments(r)), loss, rows, chunk_size=args.chunk)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    print(
        f"N = {args.segments}, {args.views} view(s), chunks of {args.chunk}, {threads} thread(s): {took:.1f} s, "
        f"{cpu:.1f} CPU s, "
        f"{peak():.0f} MB at most ({before:.0f} MB before the step); loss {value:.5f}, gradient norm {norm:.4g}"
    )
    if args.check:
        chunked = torch.cat([p.grad.flatten() for p in model.parameters()])
        model.zero_grad()
        loss(model(segments(rows))).backward()
        whole = torch.cat([p.grad.flatten() for p in model.parameters()])
        print(f"largest difference from one pass, relative to the norm: {(chunked - whole).norm() / whole.norm():.2e}")


if __name__ == "__main__":
    main()
