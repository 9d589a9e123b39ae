"""What the linear probe sees of a record: its embedding, its physiological features, age and sex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dataset import feature_columns, record_features
from .embed import embed
from .run import Run
from .vectors import GivenEmbeddings

INPUTS = ("embedding", "features", "demographics")


def represent(
    run: Run | GivenEmbeddings, store: Any, records: np.ndarray, inputs: Sequence[str], device: str = "auto"
) -> np.ndarray:
    """(n, d) float64: the columns that the linear probe sees."""
    check_inputs(inputs)
    parts = []
    for name in inputs:
        if name == "embedding":
            if isinstance(run, GivenEmbeddings):
                parts.append(run.values[records])
            else:
                parts.append(embed(run, store, records=records, device=device).astype(np.float64))
        elif name == "features":
            leads, kind = run.config.feature_leads, run.config.feature_set
            width = len(feature_columns(leads, leads, kind))
            parts.append(_record_means([record_features(store, int(i), leads, kind) for i in records], width))
        else:
            age = np.asarray(store.table["age"])[records].astype(np.float64)
            sex = np.asarray(store.table["sex"])[records].astype(str)
            parts.append(np.stack((age, sex == "F", sex == "M", ~np.isfinite(age)), axis=1).astype(np.float64))
    return np.concatenate(parts, axis=1)


def _record_means(rows: list[np.ndarray], width: int) -> np.ndarray:
    """Mean over the segments of each record, NaN where no segment has the value."""
    out = np.full((len(rows), width), np.nan)
    for k, r in enumerate(rows):
        seen = np.isfinite(r)
        count = seen.sum(0)
        out[k, count > 0] = np.where(seen, r, 0).sum(0, dtype=np.float64)[count > 0] / count[count > 0]
    return out


def check_inputs(inputs: Sequence[str]) -> None:
    bad = [i for i in inputs if i not in INPUTS]
    if bad or not inputs or isinstance(inputs, str):
        raise ValueError(f"inputs is {inputs!r}; it must be a list of some of {', '.join(map(repr, INPUTS))}")
