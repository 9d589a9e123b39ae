"""Baselines without a step of training."""

from __future__ import annotations

from .method import Method


class Random(Method):
    """The encoder as it was drawn."""

    trained = learns = False


class Features(Method):
    """No network: a record is embedded in the feature space that is fitted on the run's records."""

    trained = encodes = False
