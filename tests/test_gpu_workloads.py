"""What benchmarks/gpu_check.sh times on a device runs, small and on the CPU: a workload that fails would cost the hour
on a borrowed card."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[1] / "benchmarks" / "gpu" / "workloads.py"
if not FILE.is_file():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
SPEC = importlib.util.spec_from_file_location("gpu_workloads", FILE)
workloads = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = workloads  # dataclasses look there
SPEC.loader.exec_module(workloads)


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda w: w.name)
def test_a_workload_runs(workload):
    device, scale = torch.device("cpu"), 1e-3
    workload.setup(device, scale)()
    assert workload.moved(scale) > 0
    if workload.eager is not None:
        workload.eager(device, scale)()
