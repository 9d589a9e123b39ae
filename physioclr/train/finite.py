"""The end of a run that has become NaN or infinite: at which step, on which records, and what is left of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from .dataset import Batch
from .files import write_atomically


class TrainingDiverged(RuntimeError):
    """The loss or its gradient became NaN or infinite. The message names step, records and last good checkpoint."""


class FiniteCheck:
    """Called with each loss and gradient norm. `step`: the number of steps made; `last_good`: the newest checkpoint."""

    def __init__(self, report: Path | None, record_ids: np.ndarray, steps: int):
        """report: the file to write, None in all processes but the first. record_ids: of the whole store."""
        self.report, self.record_ids, self.steps = report, record_ids, steps
        self.step = 0
        self.last_good: Path | None = None

    def __call__(self, what: str, value: float, batches: list[Batch]) -> None:
        """Raises TrainingDiverged, after writing the report, if the value is NaN or infinite."""
        if math.isfinite(value):
            return
        records = [str(r) for r in dict.fromkeys(self.record_ids[i] for b in batches for i in b.record)]
        if self.report is not None:
            about = {"step": self.step + 1, what: str(value), "records": records}
            about["last_good"] = str(self.last_good or "")
            write_atomically(self.report, json.dumps(about, indent=1))
        shown = ", ".join(records[:8]) + (f" and {len(records) - 8} more" if len(records) > 8 else "")
        good = f"the last good checkpoint is {self.last_good}" if self.last_good else "there is no checkpoint yet"
        raise TrainingDiverged(
            f"the {what} is {value} at step {self.step + 1} of {self.steps}; its batch holds the records {shown} "
            f"(all in diverged.json); {good}"
        )
