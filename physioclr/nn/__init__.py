"""Encoders, decoder, losses and the PhysioCLR model. Importing it registers every `torch.ops.physioclr` operator."""

from ..ops import _torch as _torch  # registers the operators
from .augmentation import Augmentation
from .chunked import chunked_backward
from .decoder import Decoded, Decoder
from .encoder import ECGTransformer, Encoded, ResNet1d
from .losses import HybridLoss, HybridTerms, alignment_uniformity, info_nce, nt_xent
from .model import PhysioCLR
from .own_encoder import as_encoder

__all__ = [
    "Augmentation",
    "Decoded",
    "Decoder",
    "ECGTransformer",
    "Encoded",
    "HybridLoss",
    "HybridTerms",
    "PhysioCLR",
    "ResNet1d",
    "alignment_uniformity",
    "as_encoder",
    "chunked_backward",
    "info_nce",
    "nt_xent",
]
