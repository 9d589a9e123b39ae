"""What a method of pretraining is: the views it wants of a batch, the loss of their embeddings, its part of the model.

A batch flows one way: store -> `views` -> `rows` -> encoder (`forward`, whole or in chunks) -> `loss` -> optimiser.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ... import nn

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from ..config import Config
    from ..dataset import Batch, Segments
    from ..views import Draw


class Outputs(NamedTuple):
    """What the model made of a batch. N segments, rows 2 k and 2 k + 1 the two of one record.

    embeddings: (N, D) of each view, in the order of `Method.views`, in the dtype that autocast gave them.
    heads: name -> (N, ...), what the method's own heads gave.
    """

    embeddings: list[Tensor]
    heads: dict[str, Tensor]


class Method:
    """A method of pretraining; one of your own is a subclass with `views` and `loss`.

    As it stands it has one augmented view of each segment, and the other view is the adjacent segment (`batch.pair`).
    An object of it serves one run. Parameters of its own that `__init__` sets are kept in run.json, and a resumed run
    must have the same.

    trained: False for a baseline, of which no step is made. learns: False where nothing in the run is learnt from its
    records. encodes: False where the embedding of a record is not that of the encoder. needs_labels: batches hold the
    labels of `Config.scheme`, and records without any are left out. by_row: the views and rows of a segment depend on
    that segment and its partner alone; with an even `chunk` they are then drawn a chunk at a time, twice, and not held.
    """

    trained: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    encodes: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    by_row: ClassVar[bool] = False

    config: Config
    process_group: ProcessGroup | None = None

    # ---- before the first step

    def check(self, config: Config) -> None:
        """Raise a ValueError that names the key if the configuration asks for what the method cannot do."""

    def fit(self, segments: Segments, config: Config, folder: Path) -> None:
        """Once, when a run begins: fit what the method wants of the training set, and write it into the run folder."""

    def start(
        self, segments: Segments, config: Config, folder: Path, process_group: ProcessGroup | None = None
    ) -> None:
        """At the start of each part of a run, after `fit`: read what that wrote. Extend it by way of super()."""
        self.config, self.process_group = config, process_group

    def model(self, encoder: torch.nn.Module, config: Config, fs: float, classes: int = 0) -> nn.PhysioCLR:
        """Encoder and projection. Modules of the method's own go onto it as attributes: they are trained and kept too.

        fs: of the network's input, Hz. classes: of the labels, 0 unless needs_labels.
        """
        return nn.PhysioCLR(encoder, projection=config.projection, decoder=False)

    # ---- a step

    def views(self, batch: Batch, draw: Draw) -> tuple[Tensor, ...]:
        """The views, (N, 12, T) each in network units, the anchors first: `draw(0, 1)` gives two augmentations."""
        return draw(0)

    def rows(self, batch: Batch, views: tuple[Tensor, ...], sd: float) -> dict[str, Tensor]:
        """What `forward` needs, each with a row for every segment: the views are "view0", "view1", ..."""
        return {f"view{k}": x for k, x in enumerate(views)}

    def forward(self, model: nn.PhysioCLR, rows: dict[str, Tensor]) -> Outputs:
        """One pass over rows of a batch, under autocast if `amp`. With `chunk` it is called twice for each chunk.

        All views go through the encoder together, so that its batch statistics are of them all.
        """
        embeddings, _ = model.project(*view_rows(rows))
        return Outputs(embeddings, {})

    def loss(self, out: Outputs, batch: Batch) -> Tensor | dict[str, Any]:
        """A scalar, the mean over the whole batch; or a dict with "loss" and whatever metrics.csv is to show beside it.

        With several processes each has its own rows; `self.process_group` is what the losses of `physioclr.nn` take.
        """
        raise NotImplementedError(f"{type(self).__name__} has no loss")


def view_rows(rows: dict[str, Tensor]) -> list[Tensor]:
    return [x for name, x in rows.items() if name.startswith("view")]
