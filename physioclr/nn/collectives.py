"""Sums and rows over the processes of a group: `ops/_collectives.py`, which the contrastive losses need too."""

from ..ops._collectives import gather_rows, global_sum

__all__ = ["gather_rows", "global_sum"]
