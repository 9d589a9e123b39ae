"""Commands of the training: pretrain, probe, embed, similar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import INTERRUPTED, JsonOpt, StoreArg, app, first_process, out, tell, watched


def _help_config(wanted: bool) -> None:
    if wanted:
        from ..train.config import describe

        out.print("Keys of a YAML file and of --set key=value:\n\n" + describe(20), markup=False)
        raise typer.Exit()


@app.command(epilog="Example: physioclr pretrain stores/ptbxl --out runs/first --set steps=2000 batch_size=256")
def pretrain(
    store: StoreArg,
    run: Annotated[Path, typer.Option("--out", help="Run folder: configuration, metrics, checkpoints, loss curve.")],
    method: Annotated[
        str | None, typer.Option(help="physioclr, simclr, cmsc, supervised, features, random or package.module:Class.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="transformer, resnet1d, or one of your own: package.module:factory.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="A YAML file, or fast, beats, predict, predict12, kernel12, published; "
            "default fast, or the resumed run's own."
        ),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the configuration.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint of the run folder.")] = False,
    help_config: Annotated[
        bool, typer.Option("--help-config", help="Every key of --set.", callback=_help_config, is_eager=True)
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Pretrain an encoder on a store. Ctrl-C saves a checkpoint (status 130), --resume goes on from it."""
    from ..train import Config
    from ..train import pretrain as train
    from ..train.pretrain import own_config

    begun = own_config(run) if resume and config is None else None
    base = begun or Config.load(config or "fast")

    given = {"method": method, "encoder": encoder}
    settings = list(settings or []) + [f"{key}={name}" for key, name in given.items() if name]
    with watched("pretrain", "steps") as show:

        def update(metrics: dict[str, Any]) -> None:
            show(metrics["step"], metrics["steps"], f"loss {metrics['loss']:.4f}" if "loss" in metrics else "")

        result = train(store, run, base.override(settings), resume=resume, progress=update)
    if first_process():
        tell(vars(result), str(result), as_json)
    if result.status == "interrupted":
        raise typer.Exit(INTERRUPTED)


@app.command(epilog="Example: physioclr probe runs/first stores/ptbxl --fractions 0.01 0.1 1")
def probe(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[RUN] STORE", help="A run folder and a store; with --embeddings the store alone."),
    ],
    embeddings: Annotated[
        Path | None, typer.Option(help="Of any encoder: .npy, rows as in the store; .csv, .parquet with record_id.")
    ] = None,
    fractions: Annotated[list[float] | None, typer.Option(help="Shares of the training labels.")] = None,
    seeds: Annotated[int, typer.Option(help="Draws of the labels at each fraction below 1.")] = 3,
    scheme: Annotated[str | None, typer.Option(help="Label scheme; by default that of most records.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option(help="What the linear probe sees: embedding, features, demographics.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Make so many folds by patient; default the store's own.")] = None,
    test_folds: Annotated[list[int] | None, typer.Option(help="Score only these folds of the store.")] = None,
    train_sources: Annotated[list[str] | None, typer.Option(help="Fit on the records of these sources.")] = None,
    test_sources: Annotated[list[str] | None, typer.Option(help="Score those of these sources.")] = None,
    min_positives: Annotated[int, typer.Option(help="Classes with fewer in any draw are left out.")] = 2,
    finetune: Annotated[bool, typer.Option(help="Train encoder and head together instead of the probe.")] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the labelled records with --finetune.")] = 20,
    path: Annotated[Path | None, typer.Option("--out", help="Folder of table and picture; default the run.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """Evaluate a run on labelled records by a linear probe or by fine-tuning: AUROC and AUPRC with intervals."""
    from ..train import probe as evaluate

    if len(paths) != (2 if embeddings is None else 1):
        raise ValueError(
            f"{len(paths)} paths are given; probe takes a run and a store, or --embeddings FILE and a store"
        )
    run, store = (paths[0] if embeddings is None else None), paths[-1]

    with watched("probe", "fits") as update:
        result = evaluate(
            run, store, embeddings=embeddings, fractions=tuple(fractions or (0.01, 0.1, 1.0)),
            seeds=seeds, scheme=scheme, folds=folds,
            finetune=finetune, epochs=epochs, out=path, min_positives=min_positives,
            inputs=inputs or None, test_folds=test_folds or None, train_sources=train_sources or None,
            test_sources=test_sources or None,
            progress=update,
        )  # fmt: skip
    told = ("rows", "left_out", "notes", "csv", "picture")
    tell({name: getattr(result, name) for name in told}, str(result), as_json)


@app.command(epilog="Example: physioclr embed runs/first stores/ptbxl --out embeddings.parquet")
def embed(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[RUN] STORE", help="A run folder and a store; without RUN the shipped encoder."),
    ],
    path: Annotated[Path, typer.Option("--out", help="The file to write: .npy, .csv or .parquet.")],
    as_json: JsonOpt = False,
) -> None:
    """Write the embedding of every record of a store, (records, width) float32; CSV, Parquet: after its id."""
    if len(paths) > 2:
        raise ValueError(f"{len(paths)} paths are given; embed takes a run and a store, or a store alone")
    run, place = (Path("pretrained"), *paths)[-2:]
    from ..data import open_store
    from ..train import embed as embeddings
    from ..train import open_run
    from ..train.vectors import check_ending, save_vectors

    check_ending(path, "--out")  # before the work, not after it
    opened = open_run(run)  # what is wrong with the run is told before the store is looked at
    store = open_store(place)
    with watched("embed", "records") as update:
        values = embeddings(opened, store, progress=update)
    save_vectors(path, values, store.table["record_id"].tolist())
    n, width = values.shape
    tell({"path": path, "records": n, "columns": width}, f"{path}: {n} records, {width} columns", as_json)


@app.command("similar", epilog="Example: physioclr similar runs/first stores/ptbxl --record 00349_hr -k 5")
def similar_records(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[RUN] STORE", help="A run folder and a store; without RUN the shipped encoder."),
    ],
    record: Annotated[str, typer.Option(help="Its id, or an end of it that no other has.")],
    number: Annotated[int, typer.Option("-k", help="How many records.")] = 10,
    path: Annotated[Path, typer.Option("--out", help="The picture to write (.png, .svg or .pdf).")] = Path(
        "similar.png"
    ),
    as_json: JsonOpt = False,
) -> None:
    """Draw the records most like one, by the encoder's embedding and by the physiology, side by side."""
    if len(paths) > 2:
        raise ValueError(f"{len(paths)} paths are given; similar takes a run and a store, or a store alone")
    run, place = (Path("pretrained"), *paths)[-2:]
    from ..data import open_store
    from ..train.run import open_run
    from ..train.similar import draw_similar, find_record, similar

    opened, store = open_run(run), open_store(place)
    row = find_record(store, record)
    with watched("embed", "records") as update:
        found = similar(opened, store, row, number, progress=update)
    ids = store.table["record_id"]
    lines = [f"by {k}: " + ", ".join(f"{ids[n.record]} {n.cosine:.2f}" for n in near) for k, near in found.items()]
    title = f"{ids[row]}, {opened.name} encoder of {opened.info['records']} records"
    made = draw_similar(path, store, row, found, title=title)
    by = {k: [{"record_id": ids[n.record], "cosine": n.cosine} for n in near] for k, near in found.items()}
    tell({"record_id": ids[row], "by": by, "picture": made}, "\n".join([*lines, str(made)]), as_json)
