"""Evaluation: a linear probe on frozen embeddings, or fine-tuning, at given fractions of the labels.

Records are split by patient: into the store's own folds (PTB-XL's strat_fold) or into folds made here. Each fold is
scored by a classifier that was fitted on labels drawn from the other folds, and the scores of all folds are judged
together. The draws depend on the labels and the seed alone, so two methods are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import group_ids
from .finetune import FineTuner
from .judge import Fit, Task, judge, run_trials
from .labelled import labelled_records
from .linear import LinearProbe
from .probe_report import COLUMNS, ProbeResult, draw_probe, report
from .representation import INPUTS, check_inputs, represent
from .run import Run, open_run
from .splits import make_split
from .vectors import GivenEmbeddings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..data import Store

__all__ = ["COLUMNS", "INPUTS", "LinearProbe", "ProbeResult", "draw_probe", "probe", "represent"]


def probe(
    run: str | Path | Run | None,
    store: Store | str | Path,
    *,
    embeddings: np.ndarray | Tensor | str | Path | None = None,
    out: str | Path | None = None,
    scheme: str | None = None,
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: int = 3,
    folds: int | None = None,
    test_folds: Sequence[int] | None = None,
    train_sources: Sequence[str] | None = None,
    test_sources: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    finetune: bool = False,
    epochs: int = 20,
    c: float = 0.01,
    min_positives: int = 2,
    bootstrap: int = 1000,
    picture: bool = True,
    device: str = "auto",
    progress: Callable[[int, int], Any] | None = None,
) -> ProbeResult:
    """Judge an encoder by how well its embeddings tell diagnoses apart.

    Args:
        run: a run folder or an open run. store: an open store with labels, or the path of one.
        embeddings: of any encoder, instead of a run (then None): (n_records, width) numbers, rows in the store's order,
            or a file of them: .npy, or .csv or .parquet with the column record_id, whose rows may lie in any order.
        out: folder for the table (CSV) and the picture; if None that of the run, or of the embeddings' file.
        scheme: the label scheme; if None the one that applies to most records.
        fractions: of the training labels. seeds: draws of labels at each fraction.
        folds: None takes the store's own folds, or makes 5 where it has none; a number makes that many, by patient.
        test_folds: score these of the store's folds only and train on the others, instead of each in turn.
        train_sources, test_sources: score the records of these sources of the store by a classifier fitted on the
            others (across data sets, no folds); train_sources None means all that are not in test_sources.
        inputs: what the linear probe sees: "embedding", "features" (those of the run's configuration), "demographics"
            (age and sex), or several side by side. None: the embedding, of a "features" run the features.
        finetune: train encoder and head together instead (`epochs` passes over the drawn records); from a random
            run that is supervised training from scratch.
        c: inverse strength of the logistic regression's penalty on standardised inputs.
        min_positives: a class is left out at a fraction if any of its draws, or what is scored, has fewer positives or
            negatives.
        bootstrap: resamples of the patients for the 95 % intervals; those over all seeds resample the seeds as well.
        picture: draw the result beside the table.
        progress: called with (fits done, fits in all).

    Raises:
        ValueError: no labels, a scheme that the store lacks, folds that cannot be made. DamagedFile: a file of the run.
    """
    if (run is None) == (embeddings is None):
        raise ValueError("run and embeddings: one of the two must be given, the other None")
    opened = None if run is None else open_run(run)
    if isinstance(store, str | Path):
        from ..data import open_store

        store = open_store(store)
    judged = GivenEmbeddings(embeddings, store) if opened is None else opened
    if isinstance(judged, GivenEmbeddings):
        if finetune:
            raise ValueError("finetune is true, but embeddings are given, which have no encoder to train")
        if out is None and judged.path is None:
            raise ValueError("out is None; give a folder for the table of these embeddings")
    if out is None and judged.shipped:
        raise ValueError(
            "out is None; give a folder for the table of the shipped encoder, which has no run folder of yours"
        )
    if inputs is None:
        embedded = isinstance(judged, GivenEmbeddings) or judged.method.encodes
        inputs = ("embedding",) if embedded else ("features",)
    check_inputs(inputs)
    for f in fractions:
        if not 0 < f <= 1:
            raise ValueError(f"fractions has {f!r}; each must be above 0 and at most 1")
    if seeds < 1:
        raise ValueError(f"seeds is {seeds!r}; it must be at least 1")
    scheme, classes, records, y = labelled_records(store, scheme)
    task = Task(scheme, classes, records, y, group_ids(store, records))
    split = make_split(store, task, folds, test_folds, train_sources, test_sources)
    if isinstance(judged, Run) and finetune:
        fit: Fit = FineTuner(judged, store, records, epochs, device)
    else:
        fit = LinearProbe(represent(judged, store, records, inputs, device), c)
    jobs = [
        (f, s) for f in sorted({float(f) for f in fractions}) for s in range(1 if f >= 1 and not finetune else seeds)
    ]
    trials = run_trials(fit, task, split, jobs, min_positives, progress)
    rows, left_out = judge(trials, task, min_positives, bootstrap)

    folder = judged.path if out is None else Path(out)
    assert folder is not None
    result = report(
        judged, store, task, split, trials.scores, rows, left_out, folder=folder,
        inputs=inputs, protocol="finetune" if finetune else "linear", picture=picture,
    )  # fmt: skip
    result.save()
    return result
