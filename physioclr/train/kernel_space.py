"""The physiology similarity as coordinates: what an encoder is told to predict where `target` is "kernel".

Two segments are as similar as exp(-d^2 / 2 sigma^2) of their physiology (the paper's second similarity). Principal
components of that kernel (Schoelkopf, Smola, Mueller 1998) have it as their inner product. They hold what only
combinations of features say, such as a wide QRS with a late R in V1, and no linear map of the features does. Some
hundred segments stand for all (Nystroem's approximation; Williams, Seeger 2001).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .space_file import SavedSpace

SIGMA = 1.3  # of rows that have a mean square length of about 2, so that two of them are some 2 apart
LANDMARKS, COMPONENTS = 800, 128
FIT_PAIRS = 2000  # pairs of segments
LEAST = 1e-6  # of the first eigenvalue: what lies in directions of a smaller one is rounding
KERNEL = "kernel_space.npz"  # in the run folder


class KernelSpace(SavedSpace):
    """Kernel principal components of rows of physiology, exp(-|a - b|^2 / 2 sigma^2).

    Each is divided by the square root of its SD: between the kernel's own measure, in which the first few are all, and
    whitening, in which the last are as large as they. One factor makes the mean square of the training rows 1.

    landmarks: (M, D). matrix: (M, components). offset: (components,).
    """

    _FIELDS = ("landmarks", "matrix", "offset")
    _FORMAT, _WHAT = "physioclr KernelSpace 1", "kernel space"

    @classmethod
    def _belong(cls, *shapes: tuple[int, ...]) -> bool:
        landmarks, matrix, offset = shapes
        return len(landmarks) == 2 and matrix == (landmarks[0], *offset)

    @classmethod
    def fit(cls, rows: Tensor, components: int = COMPONENTS, landmarks: int = LANDMARKS) -> KernelSpace:
        """rows: (N, D) of training segments, with at least one; every N / `landmarks`-th is a landmark."""
        rows = rows.double()
        marks = rows[torch.arange(min(landmarks, len(rows))) * len(rows) // min(landmarks, len(rows))]
        values, vectors = torch.linalg.eigh(_kernel(marks, marks))
        good = values > LEAST * values[-1]
        root = vectors[:, good] / values[good].sqrt()
        x = _kernel(rows, marks) @ root
        center = x.mean(0)
        _, size, axes = torch.linalg.svd(x - center, full_matrices=False)
        sd, axes = size[:components] / len(rows) ** 0.5, axes[:components]
        axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # the same whoever fits it
        weight = torch.where(sd > LEAST**0.5 * sd[0], sd, torch.inf).rsqrt()
        weight = weight / (((sd * weight).square().sum() / components).sqrt() or 1.0)
        projection = axes.T * weight
        matrix, offset = rows.new_zeros(len(marks), components), rows.new_zeros(components)  # fewer rows: zeros behind
        matrix[:, : len(sd)], offset[: len(sd)] = root @ projection, -center @ projection
        return cls(marks.numpy(), matrix.numpy(), offset.numpy())

    def transform(self, rows: Tensor) -> Tensor:
        """(N, D) to (N, components) float32."""
        landmarks, matrix, offset = self._doubles(rows)
        return (_kernel(rows.double(), landmarks) @ matrix + offset).float()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.T)
    return torch.exp(-square.clamp_min(0.0) / (2 * SIGMA**2))
