"""The slow, clear definition of every op, in float64 NumPy (torch where a gradient is asked for).

Nothing in the library imports this: it is what the tests compare with, and the place to read what an op means.
"""

from .features import physio_features
from .reconstruction import peak_reconstruction_loss
from .similarity import physio_similarity

__all__ = ["peak_reconstruction_loss", "physio_features", "physio_similarity"]
