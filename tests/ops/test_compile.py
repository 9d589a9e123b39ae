"""Every registered operator through torch.compile's default backend, inductor, and what autograd sees of them."""

import warnings

import op_cases
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import physioclr as pc
from physioclr.ops import _torch

NAMES = sorted(name.partition("::")[2] for name in _torch.LIB._op_defs)
QUICK = {"physio_similarity", "physio_neighbors"}


class Record(TorchDispatchMode):
    """Keeps the arguments of the first call of each operator of ours."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "physioclr" and func not in self.calls:
            copied = [a.detach().clone() if isinstance(a, torch.Tensor) else a for a in args]
            self.calls[func] = copied, dict(kwargs or {})
        return func(*args, **(kwargs or {}))


def call_of(name):
    if name == "contrastive_rows":  # called with a process group only; its arguments are those of the loss
        return torch.ops.physioclr.contrastive_rows.default, call_of("hybrid_contrastive_loss")[1][:9], {}
    x = op_cases.made_up(2, 1500)
    for case in op_cases.CASES:
        if name in case.ops:
            with Record() as record:
                op_cases.run(case, x)
            for func, call in record.calls.items():
                if func._schema.name == f"physioclr::{name}":
                    return func, *call
    raise AssertionError(f"no case calls {name}")


def fresh(args):
    return [a.clone() if isinstance(a, torch.Tensor) else a for a in args]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_compiles_with_inductor(name):
    func, args, kwargs = call_of(name)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inductor's own, of a new process pool and the like
        want, mutated = func(*fresh(args), **kwargs), fresh(args)
        got = torch.compile(lambda *a: func(*a, **kwargs), fullgraph=True)(*mutated)
    for a, b in zip(op_cases.flat(got), op_cases.flat(want), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "op", ["physio_features", "physio_similarity", "physio_neighbors", "detect_rpeaks", "delineate"]
)
def test_without_a_gradient_results_have_no_grad_fn(op):
    func, args, kwargs = call_of(op)
    assert args[0].is_floating_point()
    args[0].requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = op_cases.flat(func(*args, **kwargs))
        assert not any(x.requires_grad for x in out)
        both = args[0].nan_to_num().square().sum() + sum(x.nan_to_num().double().sum() for x in out)
        both.backward()
    torch.testing.assert_close(args[0].grad, 2 * args[0].detach().nan_to_num())


def test_public_functions_give_no_grad_fn_either():
    x = op_cases.made_up(2, 1500)
    ecg, a = x.ecg.clone().requires_grad_(), x.features.clone().requires_grad_()
    found = (
        pc.physio_features(ecg, x.fs, lead=1), pc.physio_similarity(a), pc.physio_similarity(x.others, a),
        pc.physio_neighbors(a, k=2).similarity, pc.detect_rpeaks(ecg, x.fs).quality,
    )  # fmt: skip
    assert not any(y.requires_grad for y in found)
