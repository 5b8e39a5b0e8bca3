"""Races of the detectors: fits and scores against scikit-learn, NumPy and numba."""

# a script's parts, not an interface: names speak, docstrings only where they do not
from __future__ import annotations

from contenders import Workload

WORKLOADS: tuple[Workload, ...] = ()
