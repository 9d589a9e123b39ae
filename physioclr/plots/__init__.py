"""Pictures: the ECG on its paper, who resembles whom, embeddings, augmentations.

Every function writes one file and returns its path. They draw on Figure objects of their own, without pyplot, so they
neither need a display nor touch the caller's figures.
"""

from .ecg import draw_record, intervals, plot_ecg
from .gallery import plot_augmentations
from .maps import plot_embeddings, plot_nearest, plot_similarity
from .paper import BOLD, FINE, INK, MM, PAPER, WAVES

__all__ = [
    "BOLD",
    "FINE",
    "INK",
    "MM",
    "PAPER",
    "WAVES",
    "draw_record",
    "intervals",
    "plot_augmentations",
    "plot_ecg",
    "plot_embeddings",
    "plot_nearest",
    "plot_similarity",
]
