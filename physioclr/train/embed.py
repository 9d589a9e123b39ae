"""Embeddings of whole records: the mean over their segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.resample import resample
from ..nn.model import size_of
from .dataset import filtered_records, network_input, network_signal, record_features
from .run import Run, choose_device, open_run

if TYPE_CHECKING:
    from ..data import Store


def run_signal(ecg: np.ndarray, fs: float, run: Run) -> np.ndarray:
    """(12, T) mV of a whole record at any rate that holds the network's -> (12, T') as that run's network sees it."""
    if fs != run.info["fs"]:
        ecg = resample(ecg, fs, run.info["fs"])
    return network_signal(ecg, run.info["fs"], run.config.highpass, run.config.decimate)


def record_segments(store: Any, i: int, run: Run) -> np.ndarray:
    """(S, 12, samples) mV as the network sees it, NaN where missing. Shorter records are padded with NaN."""
    fs = float(store.fs)
    # the training may have left it there; what it left of a store at another rate is at that rate
    x = filtered_records(store, run.config).get(i) if fs == run.info["fs"] else None
    if x is None:
        x = run_signal(store.read(i), fs, run)
    width = run.info["samples"]
    n = max(1, x.shape[1] // width)
    if x.shape[1] < width:
        x = np.concatenate((x, np.full((len(x), width - x.shape[1]), np.nan, np.float32)), axis=1)
    return np.moveaxis(x[:, : n * width].reshape(len(x), n, width), 0, 1)


def check_rate(fs: float, run: Run, what: str) -> None:
    """A lower rate than the network's lacks a part of what it was trained on."""
    least = run.info["fs"] / run.config.decimate
    if not least <= fs < math.inf:
        raise ValueError(f"{what} {fs:g} Hz; the network's rate is {least:g} Hz, and it must be at least that")


def check_fits(store: Any, run: Run) -> None:
    """The store must have the leads that the run was trained with, at the network's rate or above."""
    check_rate(float(store.fs), run, "the store is sampled at")
    if list(store.leads) != run.info["leads"]:
        raise ValueError(f"the store has the leads {', '.join(store.leads)}; the run {', '.join(run.info['leads'])}")


@torch.inference_mode()
def embed(
    run: str | Path | Run,
    store: Store | str | Path,
    *,
    records: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 256,
    device: str = "auto",
    progress: Callable[[int, int], Any] | None = None,
) -> np.ndarray:
    """Embed every record of a store with a trained encoder.

    Args:
        run: a run folder (its newest checkpoint), an open run, or "pretrained", the encoder shipped with the package.
        store: an open store, or the path of one. At another rate than the run's its records are resampled on the way.
        records: indices; all if None. batch_size: segments in one pass of the encoder.
        progress: called with (records done, records in all).

    Returns:
        (n_records, width) float32: the mean of the record's segments; time without any recorded sample counts nothing.
        Of a "features" run, the mean of its segments in the run's feature space.

    Raises:
        ValueError: other leads than the run's; a rate below that of its network.
    """
    run = open_run(run)
    if isinstance(store, str | Path):
        from ..data import open_store

        store = open_store(store)
    check_fits(store, run)
    if not run.method.encodes:
        return feature_vectors(run, store, records, progress)
    where = choose_device(device)
    encoder = run.encoder.to(where).eval()
    records = np.arange(len(store)) if records is None else np.asarray(records)
    out = np.zeros((len(records), size_of(encoder, "width")), np.float32)
    done = 0
    if progress is not None:
        progress(done, len(records))  # from here on a rate can be told
    while done < len(records):
        rows: list[np.ndarray] = []
        counts: list[int] = []
        while done + len(counts) < len(records) and sum(counts) < batch_size:
            rows.append(record_segments(store, int(records[done + len(counts)]), run))
            counts.append(len(rows[-1]))
        ecg = np.concatenate(rows)
        pooled = [_encode(encoder, part, run.sd, where) for part in _split(ecg, batch_size)]
        for row, mean in enumerate(_means(np.concatenate(pooled), counts)):
            out[done + row] = mean
        done += len(counts)
        if progress is not None:
            progress(done, len(records))
    return out


def feature_vectors(run: Run, store: Any, records: Any = None, progress: Any = None) -> np.ndarray:
    """(n_records, components) float32: the mean of each record's segments in the run's feature space; 0 if none."""
    space = run.feature_space()
    records = np.arange(len(store)) if records is None else np.asarray(records)
    out = np.zeros((len(records), space.n_components), np.float32)
    for k, i in enumerate(records):
        rows = space.transform(record_features(store, int(i), run.config.feature_leads, run.config.feature_set))
        out[k] = rows.mean(0) if len(rows) else 0.0
        if progress is not None:
            progress(k + 1, len(records))
    return out


def _split(ecg: np.ndarray, size: int) -> list[np.ndarray]:
    return [ecg[k : k + size] for k in range(0, len(ecg), size)]


def _encode(encoder: torch.nn.Module, ecg: np.ndarray, sd: float, device: torch.device) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(ecg)).to(device)
    valid = torch.isfinite(x).any(1)
    return encoder(network_input(x, sd), None if bool(valid.all()) else valid).pooled.float().cpu().numpy()


def _means(pooled: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    ends = np.cumsum(counts)
    return [pooled[end - n : end].mean(0) for end, n in zip(ends, counts, strict=True)]
