"""The labelled records of a store."""

from __future__ import annotations

from typing import Any

import numpy as np


def labelled_records(
    store: Any, scheme: str | None = None, among: np.ndarray | None = None
) -> tuple[str, tuple[str, ...], np.ndarray, np.ndarray]:
    """(scheme, class names, indices of the records it applies to, their (n, C) labels); classes without a record go.

    scheme: if None, the one that applies to most records. among: of these records only.
    """
    labels = store.labels
    if not len(labels):
        raise ValueError("the store has no labels")
    if scheme is not None and scheme not in labels:
        raise ValueError(f"scheme is {scheme!r}; the store has {', '.join(map(repr, labels))}")
    applies: dict[str, np.ndarray] = {}
    for name in [scheme] if scheme else list(labels):
        table = getattr(store, "labelled", None)
        known: Any = np.asarray(labels[name][1]).any(1) if table is None else np.asarray(table[name]).astype(bool)
        applies[name] = known if among is None else known & np.isin(np.arange(len(known)), among)
    # most records; between equals the scheme with fewer classes (PTB-XL has its own beside the Challenge's mapping)
    scheme = max(applies, key=lambda name: (int(applies[name].sum()), -len(labels[name][0])))
    records = np.flatnonzero(applies[scheme])
    if not len(records):
        raise ValueError(f"no record of the store has labels of the scheme {scheme!r}")
    names, y = labels[scheme]
    y = np.asarray(y)[records].astype(int)
    used: Any = y.any(0)
    return scheme, tuple(n for n, u in zip(names, used, strict=True) if u), records, y[:, used]
