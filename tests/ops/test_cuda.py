"""Every registered operator on a GPU: the same numbers as on the CPU, on any stream and device, inside a CUDA graph,
without a hidden copy to the host. The list of calls itself is checked on the CPU.
"""

import warnings

import pytest
import torch
from conftest import NO_GPU
from op_cases import CASES, differences, flat, inputs_of, made_up, run, uncovered

INPUTS = made_up()
CHANGED = made_up(seed=5)  # of the same shapes
cases = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])


def test_every_operator_has_a_case():
    assert uncovered() == set()


@cases
def test_cases_run_on_the_cpu(case):
    out = run(case, INPUTS)
    assert out and differences(case, out, run(case, INPUTS)) == []
    assert differences(case, [v.new_zeros(v.shape) for v in out], out) != []  # it would notice a wrong result


def test_differences_are_seen():
    case = CASES[0]
    a = torch.tensor([1.0, 2.0, float("nan")])
    assert differences(case, [a], [a.clone()]) == []
    assert differences(case, [a], [a + torch.tensor([0, 1e-6, 0])]) != []
    assert differences(case, [a], [a.nan_to_num()]) != []
    assert differences(case, [a], [a.double()]) != []
    assert differences(case, [a], [a[:2]]) != []
    assert differences(case, [a, a], [a]) != []


@pytest.fixture
def device():
    """A GPU whose fresh memory holds NaN and the largest integers, so that what a kernel leaves unwritten shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(deterministic|Synchronization debug mode)")
        yield torch.device("cuda", 0)
    torch.use_deterministic_algorithms(before)


def gpu(function):
    return pytest.mark.cuda(NO_GPU(function))


@gpu
@cases
def test_matches_the_cpu(case, device):
    got = run(case, INPUTS.on(device))
    assert all(v.device == device for v in got)
    assert differences(case, got, run(case, INPUTS)) == []


@gpu
@cases
def test_runs_on_the_current_stream(case, device):
    """The inputs appear late on a side stream; a kernel on another stream would read what was there before."""
    want, x = run(case, CHANGED), INPUTS.on(device)
    source = CHANGED.on(device)
    run(case, x)  # compiled and loaded
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(200_000_000)
        for a, b in zip(x, source, strict=True):
            if isinstance(a, torch.Tensor):
                a.copy_(b)
        got = run(case, x)
        torch.cuda.current_stream().synchronize()
        assert differences(case, got, want) == []


@gpu
@cases
def test_waits_for_nothing_and_copies_nothing(case, device):
    x = INPUTS.on(device)
    run(case, x)
    torch.cuda.set_sync_debug_mode("error")  # a copy to the host, or any other wait inside torch, raises
    try:
        got = run(case, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert differences(case, got, run(case, INPUTS)) == []


@gpu
@cases
def test_in_a_cuda_graph(case, device):
    x, source = INPUTS.on(device), CHANGED.on(device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run(case, x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = run(case, x)
    for a, b in zip(x, source, strict=True):
        if isinstance(a, torch.Tensor):
            a.copy_(b)
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    assert differences(case, got, run(case, CHANGED)) == []


@gpu
@cases
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_on_a_device_that_is_not_current(case, device):
    other = torch.device("cuda", 1)
    got = run(case, INPUTS.on(other))
    assert all(v.device == other for v in got) and torch.cuda.current_device() == 0
    assert differences(case, got, run(case, INPUTS)) == []


@gpu
@pytest.mark.parametrize("case", [c for c in CASES if c.cupy], ids=[c.name for c in CASES if c.cupy])
def test_cupy_in_and_out(case, device):
    cupy = pytest.importorskip("cupy")
    x = INPUTS.on(device)
    arrays = x._replace(**{k: cupy.from_dlpack(v) for k, v in x._asdict().items() if isinstance(v, torch.Tensor)})
    assert arrays.ecg.data.ptr == x.ecg.data_ptr()  # the same memory
    stream = cupy.cuda.Stream(non_blocking=True)
    torch.cuda.synchronize()
    with stream:
        out = [v for v in flat(case.forward(arrays)) if v is not None]
    stream.synchronize()
    want = [v for v in flat(case.forward(INPUTS)) if v is not None]
    tensors = []
    for v, w in zip(out, want, strict=True):
        if isinstance(v, float):  # a loss of arrays is a number
            tensors.append(torch.tensor(v, dtype=w.dtype))
            continue
        assert isinstance(v, cupy.ndarray)
        tensors.append(torch.from_dlpack(v))
        assert tensors[-1].data_ptr() == v.data.ptr
    assert differences(case, tensors, want) == []


@gpu
@pytest.mark.parametrize("samples", [1, 129, 1134])
def test_ragged_sizes(samples, device):
    rng = torch.Generator().manual_seed(samples)
    x = inputs_of(torch.randn(2, 12, samples, generator=rng).numpy())
    for case in CASES:
        assert differences(case, run(case, x.on(device)), run(case, x)) == [], case.name
