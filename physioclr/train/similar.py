"""Retrieval: the records of a store that are most like one of them, by an encoder and by the physiology itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .dataset import group_ids
from .embed import embed, feature_vectors
from .run import Run, open_run

KINDS = ("embedding", "physiology")
STRIPS = (("II", 5.0), ("V1", 2.0), ("V5", 2.0))  # what is drawn of a record, s
GAP, HALF_ROW = 0.3, 1.5  # s between strips, mV above and below the middle of a row


class Neighbour(NamedTuple):
    """record: its place in the store. cosine: how alike. same_patient: as the record that was asked for."""

    record: int
    cosine: float
    same_patient: bool


def find_record(store: Any, name: str) -> int:
    """The place of the record of this id, or of the only one whose id ends like this.

    Raises:
        ValueError: there is no such record, or more than one.
    """
    ids = np.asarray(store.table["record_id"]).astype(str)
    exact = np.flatnonzero(ids == name)
    found = exact if len(exact) else np.flatnonzero(np.char.endswith(ids, name)) if name else exact
    if len(found) != 1:
        few = ", ".join(ids[found[:3]]) if len(found) else f"the first of {len(ids)} is {ids[0]!r}" if len(ids) else ""
        raise ValueError(
            f"record is {name!r}, which {len(found)} records of the store have as their id or its end: {few}"
        )
    return int(found[0])


def similar(
    run: str | Path | Run,
    store: Any,
    record: int | str,
    k: int = 10,
    *,
    device: str = "auto",
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, list[Neighbour]]:
    """The k records most like one, the most alike first, without itself.

    By "embedding": the cosine of the encoder's embeddings, each column scaled by its mean and SD over the store. By
    "physiology": the cosine of the mean features in the run's feature space; records without any have cosine 0.

    Args:
        run: a run folder, an open run, or "pretrained". store: an open store, or the path of one.
        record: its place in the store, its id, or an end of it that no other id has.
        k: how many; fewer where the store has fewer others.
        device: of the encoder. progress: called with (records embedded, records in all).

    Raises:
        ValueError: no such record; k below 1; a store that the run does not fit.
    """
    run = open_run(run)
    if isinstance(store, str | Path):
        from ..data import open_store

        store = open_store(store)
    if isinstance(record, str):
        record = find_record(store, record)
    if not 0 <= record < len(store):
        raise ValueError(f"record is {record}; it must be from 0 to {len(store) - 1}")
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    x = embed(run, store, device=device, progress=progress).astype(np.float64)
    vectors = {"embedding": (x - x.mean(0)) / np.maximum(x.std(0), 1e-9), "physiology": feature_vectors(run, store)}
    group = group_ids(store)
    return {kind: _nearest(v, record, group, k) for kind, v in vectors.items()}


def _nearest(x: np.ndarray, record: int, group: np.ndarray, k: int) -> list[Neighbour]:
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosine = x @ x[record]
    order = np.argsort(-cosine, kind="stable")
    return [Neighbour(int(i), float(cosine[i]), bool(group[i] == group[record])) for i in order if i != record][:k]


# ---- the picture


def draw_similar(
    path: str | os.PathLike[str], store: Any, record: int, found: dict[str, list[Neighbour]], *, title: str = ""
) -> Path:
    """The record above, and below it those most like it, one column for each kind of likeness, strips of three leads.

    Args:
        path: the PNG, SVG or PDF to write. store: the open store. record, found: of `similar`.
    """
    from ..plots.paper import INK, figure_of, save

    rows = max(map(len, found.values())) + 1
    length = sum(seconds for _, seconds in STRIPS) + GAP * (len(STRIPS) - 1)
    figure = figure_of(170 * len(found), 16 + 17 * rows)
    columns = np.atleast_1d(figure.subplots(1, len(found)))
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 14 / (16 + 17 * rows), bottom=0.005, wspace=0.02)
    for axes, (kind, neighbours) in zip(columns, found.items(), strict=True):
        axes.set_xlim(-0.1, length + 0.1)
        axes.set_ylim(-2 * HALF_ROW * rows, 0.3)
        axes.set_axis_off()
        axes.set_title(f"most alike by {kind}", fontsize=10, loc="left", color=INK)
        for row, one in enumerate([Neighbour(record, 1.0, False), *neighbours]):
            _strip(axes, store, one, row)
        axes.axhline(0.12 - 2 * HALF_ROW, color=INK, linewidth=0.8)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", color=INK, parse_math=False)
    return save(figure, path)


def _strip(axes: Any, store: Any, one: Neighbour, row: int) -> None:
    from ..plots import INK, WAVES

    fs, leads = float(store.fs), list(store.leads)
    ecg = np.asarray(store.read(one.record), np.float64)
    base, at = -(2 * row + 1.15) * HALF_ROW, 0.0
    for lead, seconds in STRIPS:
        x = ecg[leads.index(lead), : round(seconds * fs)]
        x = np.clip(x - (np.nanmedian(x) if np.isfinite(x).any() else 0.0), -HALF_ROW, HALF_ROW)
        axes.plot(at + np.arange(len(x)) / fs, base + x, color=INK, linewidth=0.6)
        axes.text(at, base + 0.8 * HALF_ROW, lead, fontsize=6, weight="bold", color=INK, va="bottom")
        at += seconds + GAP
    peaks = store.rpeaks(one.record) / fs
    rate = f"{60 / np.median(np.diff(peaks)):.0f} per minute" if len(peaks) > 1 else ""
    table = store.table
    labels = [c for names, y in store.labels.values() for c, yes in zip(names, y[one.record], strict=True) if yes]
    text = ", ".join(filter(None, (str(table["record_id"][one.record]).rsplit("/", 1)[-1], rate, " ".join(dict.fromkeys(
        labels)))))  # fmt: skip
    if row:
        text = f"{row}. {one.cosine:.2f}   {text}" + (", the same patient" if one.same_patient else "")
    axes.text(0.35, base + 0.8 * HALF_ROW, text, fontsize=6, color=WAVES["QRS"][2] if not row else INK, va="bottom",
              parse_math=False)  # fmt: skip
