"""Training and evaluation: pretrain, probe, embed."""

from .config import Config
from .embed import embed
from .pretrain import Result, TrainingDiverged, pretrain
from .probe import ProbeResult, probe
from .run import Run, open_run

__all__ = ["Config", "ProbeResult", "Result", "Run", "TrainingDiverged", "embed", "open_run", "pretrain", "probe"]
