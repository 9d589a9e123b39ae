"""From a store to batches: filtered segments, always two adjacent ones of a record, with their physiology.

A batch is a list of pairs of segments. Its rows 2 k and 2 k + 1 are the two segments of pair k, and `pair` says so
explicitly. Which pairs form batch number k depends on (seed, k) alone, so a run can stop and go on anywhere.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import weakref
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.signal
import torch
from torch import Tensor

from .. import _core
from ..data.recipe import FEATURE_LEADS, SEGMENT
from ..data.resample import every
from ..ops.features import physio_features
from . import methods
from .config import Config
from .labelled import labelled_records

N_FEATURES, FIRST_SEGMENT_FEATURE = 159, 100  # the columns from 100 on describe the segment, those before its beats
FIT_ROWS, SD_RECORDS = 20_000, 500  # enough rows for a 50-dimensional PCA, enough records for one number


@functools.lru_cache
def _filter(corner: float, fs: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numerator, denominator and the state of a constant input."""
    sos = scipy.signal.butter(2, corner, "highpass", fs=fs, output="sos")
    return sos[0, :3].copy(), sos[0, 3:].copy(), scipy.signal.sosfilt_zi(sos)[0]


def network_signal(ecg: np.ndarray, fs: float, corner: float, decimate: int = 1) -> np.ndarray:
    """What the network sees of a whole record: (L, T) mV -> (L, ceil(T / decimate)) float32, NaN where missing.

    Zero-phase Butterworth high-pass (order 2, forwards and backwards), then every decimate-th sample after a zero-phase
    low-pass. Gaps are bridged by a straight line for the filters, so that an edge beside a gap does not ring.
    """
    missing = ~np.isfinite(ecg)
    x = ecg
    if missing.any():
        x, time = ecg.copy(), np.arange(ecg.shape[1])
        for row, gap in zip(x, missing, strict=True):
            row[gap] = np.interp(time[gap], time[~gap], row[~gap]) if not gap.all() else 0.0
    if x.shape[1] > 1:
        x = zero_phase(x, *_filter(corner, fs), min(x.shape[1] - 1, round(fs / corner)))
    x = x.astype(np.float32, copy=x is ecg)
    if decimate > 1:
        x, missing = every(x, decimate), missing[:, ::decimate]
    x[missing] = np.nan
    return x


def zero_phase(x: np.ndarray, b: np.ndarray, a: np.ndarray, state: np.ndarray, pad: int) -> np.ndarray:
    """(L, T) float32: what scipy.signal.sosfiltfilt gives for one section with padtype "odd", padlen `pad`, sooner."""
    out = np.empty(x.shape, np.float32)
    x = np.ascontiguousarray(x, None if x.dtype == np.float32 else np.float64)
    kernel = _core.zero_phase_float32 if x.dtype == np.float32 else _core.zero_phase_float64
    kernel(-1, 0, x=x, b=b, a=a, state=state, pad=pad, out=out)
    return out


def segment_samples(store: Any, decimate: int) -> int:
    """Samples of a segment as the network sees it; an error where the rate of the store does not divide."""
    whole = round(float(getattr(store, "segment", 5.0)) * float(store.fs))
    if whole % decimate or store.fs / decimate < 50:
        raise ValueError(
            f"decimate is {decimate}; it must divide the {whole} samples of a segment and leave at least 50 Hz "
            f"of the store's {store.fs:g}"
        )
    return whole // decimate


def network_input(ecg: Tensor, sd: float, out: Tensor | None = None) -> Tensor:
    """mV to network units: divided by the training set's SD, missing samples 0; into `out`, which may be `ecg`."""
    return torch.div(ecg, sd, out=out).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)


def group_ids(store: Any, records: np.ndarray | None = None) -> np.ndarray:
    """(N,) int64: equal for records of the same patient (of the same source), otherwise one for each record."""
    n = len(store) if records is None else len(records)
    pick = slice(None) if records is None else records
    patient = np.asarray(store.table["patient_id"])[pick].astype(str)
    source = np.asarray(store.table["source"])[pick].astype(str)
    known = ~np.isin(patient, ("", "nan", "None", "-1"))
    _, source_id = np.unique(source, return_inverse=True)
    _, patient_id = np.unique(patient, return_inverse=True)
    key = source_id.astype(np.int64) * (n + 1) + patient_id
    key[~known] = -1 - np.flatnonzero(~known)
    return np.unique(key, return_inverse=True)[1].astype(np.int64)


def _held(store: Any) -> list[str]:
    """The leads whose features a store keeps."""
    return list(getattr(store, "feature_leads", FEATURE_LEADS))


def feature_columns(have: Sequence[str], leads: Sequence[str], feature_set: str) -> np.ndarray:
    """Where the features that the configuration asks for stand, lead by lead, in rows that hold those of `have`."""
    have = list(have)
    first = FIRST_SEGMENT_FEATURE if feature_set == "segment" else 0
    columns = []
    for lead in leads:
        if lead not in have:
            raise ValueError(f"feature_leads has {lead!r}; the store holds features of {', '.join(have)}")
        start = have.index(lead) * N_FEATURES
        columns.append(np.arange(start + first, start + N_FEATURES))
    return np.concatenate(columns)


def record_features(store: Any, i: int, leads: Sequence[str], feature_set: str) -> np.ndarray:
    """(S, columns) features of record i, NaN where missing: the store's, or computed where it keeps other leads'."""
    have = _held(store)
    if set(leads) <= set(have):
        return store.features(i)[:, feature_columns(have, leads, feature_set)]
    segment = float(getattr(store, "segment", SEGMENT))
    peaks, x = np.asarray(store.rpeaks(i), np.int32)[None], store.read(i)[None].astype(np.float32)
    found = physio_features(x, float(store.fs), peaks, lead=list(leads), segment=segment)[0]
    return found[:, feature_columns(leads, leads, feature_set)]


@dataclasses.dataclass
class Batch:
    """Rows are segments; T samples, P beat columns, F dimensions of the feature space.

    ecg: (N, 12, T) float32 mV, high-passed, NaN where missing. rpeaks: (N, P) int32 samples of the segment, padded
    with -1. features: (N, F). group: (N,) int64. pair: (N,) int64, the row of the adjacent segment. sample_id: (N,)
    int64, unique in the store. record, segment: (N,) where each row comes from. labels: (N, C) float32, NaN where the
    record has none of the scheme; C = 0 unless the method needs labels. resident: where the rows lie in device memory,
    if they do (`ResidentRows`); ecg is then what they hold.
    """

    ecg: Tensor
    rpeaks: Tensor
    features: Tensor
    group: Tensor
    pair: Tensor
    sample_id: Tensor
    labels: Tensor
    record: np.ndarray
    segment: np.ndarray
    resident: Any = None

    def part(self, rows: slice) -> Batch:
        """Some rows, from an even one on and an even number of them, so that each has its partner among them."""
        fields: dict[str, Any] = {k: v[rows] for k, v in vars(self).items() if isinstance(v, (Tensor, np.ndarray))}
        fields["pair"] = fields["pair"] - rows.start
        resident = self.resident and dataclasses.replace(self.resident, rows=self.resident.rows[rows])
        return type(self)(**fields, resident=resident)

    def to(self, device: torch.device) -> Batch:
        tensors: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **tensors)


class FilteredRecords(dict[int, np.ndarray]):
    """index -> what the network sees of a record, for as many records as memory is granted. Readers share it."""

    bytes: int

    def __init__(self) -> None:
        self.bytes, self._lock = 0, threading.Lock()

    def keep(self, i: int, x: np.ndarray, limit: int) -> None:
        with self._lock:
            if i not in self and self.bytes + x.nbytes <= limit:
                self[i] = x
                self.bytes += x.nbytes


_FILTERED: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def filtered_records(store: Any, config: Any) -> FilteredRecords:
    """Those kept of an open store; all runs of a process on that store object share them, and they end with it."""
    return _FILTERED.setdefault(store, {}).setdefault((config.highpass, config.decimate), FilteredRecords())


class Segments:
    """The training segments of a store.

    Args:
        store: an open store.
        config: decides on folds, filter, features, cache.
        records: indices of the records to use; all of them if None. Excluded folds go in either case.
    """

    store: Any
    config: Config
    fs: float
    samples: int
    first_sample_id: np.ndarray
    records: np.ndarray
    left_out: int
    pairs: np.ndarray
    group: np.ndarray
    columns: np.ndarray
    scheme: str
    classes: tuple[str, ...]
    labels: np.ndarray
    cache: FilteredRecords

    def __init__(self, store: Any, config: Config, records: Sequence[int] | np.ndarray | None = None):
        self.store, self.config = store, config
        self.fs = float(store.fs) / config.decimate  # of the network's input, as all of a batch is
        self.samples = segment_samples(store, config.decimate)
        records = np.arange(len(store)) if records is None else np.unique(np.asarray(records, dtype=np.int64))
        if len(records) and not (0 <= records[0] and records[-1] < len(store)):
            raise ValueError(f"records goes from {records[0]} to {records[-1]}; the store has {len(store)} records")
        if config.exclude_folds:
            records = records[~np.isin(np.asarray(store.table["fold"])[records], config.exclude_folds)]
        n_segments = np.asarray(store.table["n_samples"]).astype(np.int64) // (config.decimate * self.samples)
        self.first_sample_id = np.concatenate(([0], np.cumsum(n_segments)))
        self.records = records[n_segments[records] >= 2]
        self.left_out = len(records) - len(self.records)  # too short for two segments
        n_pairs = n_segments[self.records] // 2
        # (n_pairs, 2): record, first segment. Segments 0 and 1 are a pair, 2 and 3, ...: none is drawn twice an epoch
        starts = np.arange(n_pairs.sum()) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
        self.pairs = np.stack((np.repeat(self.records, n_pairs), 2 * starts), axis=1)
        self.group = group_ids(store)
        self.columns = feature_columns(_held(store), config.feature_leads, config.feature_set)
        self.feature_space: Any = None  # fitted or loaded by the run
        self.scheme, self.labels = "", np.zeros((len(store), 0), np.float32)
        self.classes = ()
        if methods.named(config.method).needs_labels:
            self.scheme, self.classes, known, y = labelled_records(store, config.scheme or None, self.records)
            self.labels = np.full((len(store), len(self.classes)), np.nan, np.float32)
            self.labels[known] = y
            # a record without labels has nothing to teach here
            self.pairs = self.pairs[np.isin(self.pairs[:, 0], known)]
        self.cache = filtered_records(store, config)

    def __len__(self) -> int:
        return len(self.pairs)

    def check_trainable(self) -> None:
        """A contrast needs two groups; says what is wrong where there are fewer."""
        groups = len(np.unique(self.group[self.records]))
        if len(self.pairs) < 2 or groups < 2:
            raise ValueError(
                f"the store gives {len(self.pairs)} pairs of {2 * self.samples / self.fs:g} s from {groups} patients "
                f"({self.left_out} records are too short); training needs at least two of each"
            )

    def filtered(self, i: int, keep: bool = True) -> np.ndarray:
        """Record i in mV, high-passed and decimated, (12, T_i) float32, NaN where missing; keep: if there is room."""
        x = self.cache.get(i)
        if x is None:
            x = network_signal(self.store.read(i), float(self.store.fs), self.config.highpass, self.config.decimate)
            if keep:
                self.cache.keep(i, x, self.config.cache_mb * 2**20)
        return x

    def raw_features(self, i: int) -> np.ndarray:
        """(S_i, columns) of the configured leads and set, NaN where missing."""
        return self.store.features(i)[:, self.columns]

    def training_features(self) -> np.ndarray:
        """Rows for fitting the feature space: every training segment, or an even choice of 20,000."""
        pairs = self.pairs[:: max(1, 2 * len(self.pairs) // FIT_ROWS)]
        rows = [self.raw_features(i)[s : s + 2] for i, s in pairs]
        return np.concatenate(rows) if rows else np.zeros((0, len(self.columns)), np.float32)

    def input_sd(self) -> float:
        """Root mean square of the high-passed samples of the training set (or of 500 evenly chosen records), in mV."""
        total = count = 0.0
        for i in self.records[:: max(1, len(self.records) // SD_RECORDS)]:
            x = self.filtered(i)
            x = x[np.isfinite(x)].astype(np.float64)
            total, count = total + float(x @ x), count + len(x)
        sd = float(np.sqrt(total / count)) if count else 0.0
        if not sd > 0:
            raise ValueError("the training records hold no signal: every sample is missing or zero")
        return sd

    def batch(self, pairs: np.ndarray) -> Batch:
        """The batch of these rows of `self.pairs`: both segments of each."""
        record = np.repeat(self.pairs[pairs, 0], 2)
        segment = np.repeat(self.pairs[pairs, 1], 2)
        segment[1::2] += 1
        n, width = len(record), self.samples
        ecg = np.empty((n, 12, width), np.float32)
        features = np.empty((n, len(self.columns)), np.float32)
        beats: list[np.ndarray] = []
        for row in range(0, n, 2):
            i, s = int(record[row]), int(segment[row])
            x, peaks, f = self.filtered(i), self.store.rpeaks(i) // self.config.decimate, self.raw_features(i)
            for k in (0, 1):
                start = (s + k) * width
                ecg[row + k] = x[:, start : start + width]
                features[row + k] = f[s + k]
                low, high = np.searchsorted(peaks, (start, start + width))
                beats.append(peaks[low:high] - start)
        rpeaks = np.full((n, max(1, max(map(len, beats)))), -1, np.int32)
        for row, b in enumerate(beats):
            rpeaks[row, : len(b)] = b
        return Batch(
            ecg=torch.from_numpy(ecg),
            rpeaks=torch.from_numpy(rpeaks),
            features=torch.from_numpy(np.ascontiguousarray(self.feature_space.transform(features), dtype=np.float32)),
            group=torch.from_numpy(self.group[record]),
            pair=torch.arange(n) ^ 1,
            sample_id=torch.from_numpy(self.first_sample_id[record] + segment),
            labels=torch.from_numpy(self.labels[record]),
            record=record,
            segment=segment,
        )


class Sampler:
    """Which pairs form batch number k: a permutation of all pairs for each epoch, a function of (seed, epoch).

    The pairs left over at the end of an epoch wait for another one's permutation. A store with fewer pairs than a
    batch gives batches of all of them. `processes` must divide the pairs of a batch evenly.
    """

    def __init__(self, n_pairs: int, batch_size: int, seed: int, processes: int = 1):
        self.n_pairs, self.seed = n_pairs, seed
        if batch_size % (2 * processes):
            raise ValueError(f"batch_size is {batch_size}; with {processes} processes a multiple of {2 * processes}")
        self.pairs_per_batch = min(batch_size // 2, n_pairs // processes * processes)
        if not self.pairs_per_batch:
            raise ValueError(f"the store gives {n_pairs} pairs of segments; {processes} processes need one each")
        self.batches_per_epoch = max(1, n_pairs // self.pairs_per_batch)
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def epoch(self, k: int) -> int:
        return k // self.batches_per_epoch

    def __call__(self, k: int) -> np.ndarray:
        epoch = self.epoch(k)
        if epoch != self._epoch:
            key = np.array([self.seed, epoch], np.uint64)
            self._order = np.random.Generator(np.random.Philox(key=key)).permutation(self.n_pairs)
            self._epoch = epoch
        start = (k % self.batches_per_epoch) * self.pairs_per_batch
        return self._order[start : start + self.pairs_per_batch]


def iterate(segments: Segments, sampler: Sampler, start: int, stop: int, part: slice = slice(None)) -> Generator[Batch]:
    """Batches number start to stop - 1, read ahead by config.workers threads; `part`, the pairs of this process.

    An error in a thread is raised here, at the batch it belongs to.
    """
    if segments.config.workers == 0:
        for k in range(start, stop):
            yield segments.batch(sampler(k)[part])
        return
    pool = ThreadPoolExecutor(segments.config.workers, "physioclr-reader")
    try:
        ahead: deque[Any] = deque()
        k = start
        while k < stop or ahead:
            while k < stop and len(ahead) <= segments.config.workers:
                ahead.append(pool.submit(segments.batch, sampler(k)[part]))
                k += 1
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
