"""Encoders, decoder, losses and the PhysioCLR model. Importing it registers every `torch.ops.physioclr` operator."""

from ..ops import _torch as _torch  # registers the operators
from .augmentation import Augmentation
from .decoder import Decoded, Decoder
from .encoder import ECGTransformer, Encoded, ResNet1d
from .losses import HybridLoss, HybridTerms, alignment_uniformity, info_nce, nt_xent
from .model import PhysioCLR

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
    "info_nce",
    "nt_xent",
]
