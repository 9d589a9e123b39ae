"""Training and evaluation: pretrain, probe, embed, similar, load_pretrained."""

from .._files import DamagedFile
from .config import Config
from .embed import embed
from .hub import Pretrained, load_pretrained
from .methods import Method
from .pretrain import Result, TrainingDiverged, pretrain
from .probe import ProbeResult, probe
from .run import Run, open_run
from .similar import Neighbour, draw_similar, similar

__all__ = [
    "Config",
    "DamagedFile",
    "Method",
    "Neighbour",
    "Pretrained",
    "ProbeResult",
    "Result",
    "Run",
    "TrainingDiverged",
    "draw_similar",
    "embed",
    "load_pretrained",
    "open_run",
    "pretrain",
    "probe",
    "similar",
]
