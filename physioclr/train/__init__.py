"""Training and evaluation: pretrain, probe, embed."""

from .._files import DamagedFile
from .config import Config
from .embed import embed
from .methods import Method
from .pretrain import Result, TrainingDiverged, pretrain
from .probe import ProbeResult, probe
from .run import Run, open_run

__all__ = [
    "Config",
    "DamagedFile",
    "Method",
    "ProbeResult",
    "Result",
    "Run",
    "TrainingDiverged",
    "embed",
    "open_run",
    "pretrain",
    "probe",
]
