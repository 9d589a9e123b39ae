"""One table over all public functions: what each argument's gradient does, and torch's transforms of them: inductor,
export, gradcheck, torch.func.jvp, grad and vmap. An op that is missing here is found."""

import contextlib
import inspect
import warnings

import op_cases
import pytest
import torch
from augment_plans import PLANS

import physioclr as pc
from physioclr.ops import _torch

# forward_ad compiles decompositions by torch.jit.script; torch's own batching tells how it does it
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script", "ignore:There is a performance drop")

X = op_cases.made_up(2, 1500)
ECG, A, V, F, G = X.ecg.nan_to_num(), X.anchor[:20], X.views[:, :20], X.features[:20], X.group[:20]
FS = {"fs": 500.0}
PLAN = PLANS["every"]

# The arguments of each function that can require a gradient: "gradient" they get it; "refused" an error says to detach;
# "detached" the result is a constant, without a grad_fn.
TABLE = {
    pc.detect_rpeaks: (dict(ecg=ECG, **FS), dict(ecg="detached")),
    pc.delineate: (dict(ecg=ECG, rpeaks=X.rpeaks, **FS), dict(ecg="detached")),
    pc.physio_features: (dict(ecg=ECG, rpeaks=X.rpeaks, **FS), dict(ecg="detached")),
    pc.physio_similarity: (
        dict(a=F, b=X.others, kernel="rbf", sigma=torch.tensor(5.0)), dict(a="detached", b="detached", sigma="detached")
    ),
    pc.physio_neighbors: (dict(a=F, b=X.others, k=3), dict(a="detached", b="detached")),
    pc.augment: (dict(ecg=ECG, plan=PLAN, seed=3, rpeaks=X.rpeaks, **FS), dict(ecg="gradient")),
    pc.shuffle_beats: (dict(ecg=ECG, seed=3, rpeaks=X.rpeaks, cut="tp", **FS), dict(ecg="gradient")),
    pc.hybrid_contrastive_loss: (
        dict(anchor=A, views=V, features=F, group=G, tau=torch.tensor(0.2), delta=0.1, tau_s=0.3),
        dict(anchor="gradient", views="gradient", tau="gradient", features="refused", delta="refused", tau_s="refused"),
    ),
    pc.info_nce: (
        dict(a=A, b=V[0], tau=torch.tensor(0.2), negatives=V[1], beta=torch.tensor(0.5)),
        dict(a="gradient", b="gradient", tau="gradient", negatives="refused", beta="refused"),
    ),
    pc.nt_xent: (
        dict(a=A, b=V[0], tau=torch.tensor(0.2), negatives=V[1], beta=torch.tensor(0.5)),
        dict(a="gradient", b="gradient", tau="gradient", negatives="refused", beta="refused"),
    ),
    pc.supcon: (dict(x=A, labels=G // 3, tau=torch.tensor(0.2)), dict(x="gradient", tau="gradient")),
    pc.y_aware_info_nce: (
        dict(a=A, b=V[0], features=F, tau=torch.tensor(0.2), sigma=torch.tensor(3.0)),
        dict(a="gradient", b="gradient", tau="gradient", features="refused", sigma="refused"),
    ),
    pc.soft_contrast: (
        dict(a=A, b=V[0], features=F, tau=torch.tensor(0.2), tau_s=torch.tensor(0.3)),
        dict(a="gradient", b="gradient", tau="gradient", features="refused", tau_s="refused"),
    ),
    pc.peak_reconstruction_loss: (
        dict(x_hat=ECG.roll(3, 2), x=ECG, rpeaks=X.rpeaks, **FS), dict(x_hat="gradient", x="refused")
    ),
}  # fmt: skip
FUNCTIONS = pytest.mark.parametrize("f", TABLE, ids=lambda f: f.__name__)
DIFFERENTIABLE = pytest.mark.parametrize(
    "f", [f for f, (_, fate) in TABLE.items() if "gradient" in fate.values()], ids=lambda f: f.__name__
)


def floats(out):
    return [y for y in op_cases.flat(out) if y is not None and y.is_floating_point()]


def rest(f):
    """The arguments after the first; settings that get no gradient as the numbers that they are."""
    (_, *others), fate = TABLE[f][0].items(), TABLE[f][1]
    number = lambda n, x: isinstance(x, torch.Tensor) and not x.ndim and fate.get(n) != "gradient"  # noqa: E731
    return {n: float(x) if number(n, x) else x for n, x in others}


def of(f, **changed):
    """f as a function of its first argument that gives its first floating result."""
    name, given = first(f)[0], {**rest(f), **changed}
    return lambda x: floats(f(**{name: x}, **given))[0]


def first(f):
    """The first argument and its value."""
    name = next(iter(TABLE[f][0]))
    return name, TABLE[f][0][name]


def test_the_table_has_every_function():
    takes_no_array = {pc.feature_frame, pc.feature_table, pc.set_result_pool, pc.view_seed}  # or gives none
    public = {x for x in (getattr(pc, n) for n in pc.__all__) if inspect.isfunction(x) and ".ops." in x.__module__}
    takes_integers = {pc.hrv}  # its compile, export and vmap: test_hrv.py
    assert set(TABLE) == public - takes_no_array - takes_integers
    for f, (given, fate) in TABLE.items():
        floating = {n for n, x in given.items() if isinstance(x, torch.Tensor) and x.is_floating_point()}
        assert floating <= set(fate), f


ROWS = [(f, name, what) for f, (_, fate) in TABLE.items() for name, what in fate.items()]


@pytest.mark.parametrize("f, name, fate", ROWS, ids=lambda x: getattr(x, "__name__", x))
def test_what_becomes_of_a_gradient(f, name, fate):
    given = TABLE[f][0]
    leaf = torch.as_tensor(given[name]).detach().clone().requires_grad_()
    if fate == "refused":
        with pytest.raises(ValueError, match=rf"{name} requires a gradient, which [\w ]+ does not give"):
            f(**{**given, name: leaf})
        with torch.no_grad():
            f(**{**given, name: leaf})
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = floats(f(**{**given, name: leaf}))
    if fate == "detached":
        assert not any(y.requires_grad for y in out)
    else:
        out[0].sum().backward()
        assert leaf.grad.abs().sum() > 0


def test_the_scale_of_integers_gets_no_gradient():
    scale = torch.tensor(0.001, requires_grad=True)
    rows = torch.tensor([0, 1])
    out = torch.empty(ECG.shape)
    for call in (
        lambda: pc.augment(X.raw, pc.Augment(), seed=1, scale=scale, fs=500),
        lambda: pc.augment(X.raw, pc.Augment(), seed=1, scale=scale, fs=500, out=out),
        lambda: pc.nn.Augmentation(pc.Augment(), 500.0).gather(X.raw, rows, rows, 600, scale=scale),
    ):
        with pytest.raises(ValueError, match="scale requires a gradient"):
            call()


def test_a_feature_space_is_a_constant():
    space = pc.FeatureSpace.fit(torch.randn(40, 159).numpy(), n_components=5)
    assert not space.transform(torch.randn(3, 159, requires_grad=True)).requires_grad


def test_operators_called_by_themselves_refuse_too():
    ops = torch.ops.physioclr
    with pytest.raises(ValueError, match="features requires a gradient, which hybrid_contrastive_loss does not give"):
        ops.hybrid_contrastive_loss(A.clone().requires_grad_(), V, F.clone().requires_grad_())
    with pytest.raises(ValueError, match="x requires a gradient, which peak_reconstruction_loss does not give"):
        ops.peak_reconstruction_loss(ECG, ECG.clone().requires_grad_(), X.rpeaks, 500.0)


# ---- modes of torch that nobody asked us to follow ------------------------------------------------------------------


@contextlib.contextmanager
def matmul_precision(level):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(level)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "matmul precision": lambda: matmul_precision("medium"),
    "default dtype": lambda: default_dtype(torch.float64),
    "default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
}


@pytest.mark.parametrize("mode", MODES)
@FUNCTIONS
def test_modes_change_nothing(f, mode):
    name, x = first(f)
    differentiable = "gradient" in TABLE[f][1].values() and mode != "inference mode"

    def everything():
        leaf = x.clone().requires_grad_(differentiable)
        out = f(**{name: leaf}, **rest(f))
        grads = torch.autograd.grad(floats(out)[0].sum(), leaf) if differentiable else ()
        return [y.detach() for y in (*op_cases.flat(out), *grads) if y is not None]

    want = everything()
    with MODES[mode]():
        got = everything()
    for y, z in zip(got, want, strict=True):
        torch.testing.assert_close(y, z, rtol=0, atol=0, equal_nan=True)


# ---- compile and export ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # inductor's own, of a new process pool and the like
@FUNCTIONS
def test_compiles_with_inductor_with_its_gradient(f):
    torch._dynamo.reset()
    name, x = first(f)
    given = rest(f)
    if f is pc.y_aware_info_nce:
        given["sigma"] = None  # the median is part of the graph too

    def step(x):
        return op_cases.flat(f(**{name: x * 1.0}, **given))

    a, b = (x.clone().requires_grad_() for _ in range(2))
    got, want = torch.compile(step, fullgraph=True)(a), step(b)
    assert len(got) == len(want)
    for y, z in zip(got, want, strict=True):
        torch.testing.assert_close(y, z, rtol=0, atol=0, equal_nan=True)
    if "gradient" in TABLE[f][1].values():
        floats(tuple(got))[0].sum().backward()
        floats(tuple(want))[0].sum().backward()
        torch.testing.assert_close(a.grad, b.grad)


@FUNCTIONS
def test_exports(f):
    name, x = first(f)
    given = rest(f)

    class Model(torch.nn.Module):
        def forward(self, x):
            return tuple(op_cases.flat(f(**{name: x}, **given)))

    for strict in (True, False):
        exported = torch.export.export(Model(), (x,), strict=strict).module()
        for y, z in zip(exported(x), Model()(x), strict=True):
            torch.testing.assert_close(y, z, rtol=0, atol=0, equal_nan=True)


# ---- derivatives ----------------------------------------------------------------------------------------------------


@DIFFERENTIABLE
def test_gradcheck(f):
    given, fate = TABLE[f]
    short = {
        n: x[..., 40:75].double() if x.shape[-1] > 1000 else x[:9].double() if x.ndim == 2 else x[..., :9, :].double()
        for n, x in given.items() if isinstance(x, torch.Tensor) and x.is_floating_point() and x.ndim
    }  # fmt: skip
    short |= {n: x.double() for n, x in given.items() if isinstance(x, torch.Tensor) and x.ndim == 0}
    short |= {n: x[:9] for n, x in given.items() if n in ("group", "labels")}
    if "rpeaks" in given:
        short["rpeaks"] = torch.tensor([[4, 11, 17, 29, -1]] * 2)
    names = [n for n, what in fate.items() if what == "gradient"]
    leaves = [short[n].clone().requires_grad_() for n in names]
    whole = {**given, **short}
    assert torch.autograd.gradcheck(
        lambda *xs: floats(f(**{**whole, **dict(zip(names, xs, strict=True))}))[0], leaves, eps=1e-6, atol=1e-5,
        fast_mode=True, check_forward_ad=True,
    )  # fmt: skip


@DIFFERENTIABLE
def test_forward_mode_is_the_gradient_times_the_tangent(f):
    x = first(f)[1]
    x, g = x.double(), of(f, **{"x": ECG.double()} if f is pc.peak_reconstruction_loss else {})
    t = torch.randn_like(x)
    _, tangent = torch.func.jvp(g, (x,), (t,))
    _, pull = torch.func.vjp(g, x)
    torch.testing.assert_close(tangent.sum(), (pull(torch.ones_like(tangent))[0] * t).sum(), rtol=1e-5, atol=1e-5)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(lambda x: g(x).sum())(x), torch.autograd.grad(g(leaf).sum(), leaf)[0])


@FUNCTIONS
def test_vmap_is_one_call_after_the_other(f):
    name, x = first(f)
    given = rest(f)
    stacked = torch.stack([x, 2 * x, x.flip(-1)])

    def g(x):
        return tuple(y for y in op_cases.flat(f(**{name: x}, **given)))

    got = torch.func.vmap(g, in_dims=1)(stacked.transpose(0, 1))
    for k, y in enumerate(zip(*map(g, stacked), strict=True)):
        torch.testing.assert_close(got[k], torch.stack(y), rtol=0, atol=0, equal_nan=True)


@DIFFERENTIABLE
def test_vmap_of_the_gradient_and_gradient_of_vmap(f):
    x = first(f)[1]
    g, stacked = of(f), torch.stack([x, 2 * x])
    want = torch.stack([torch.func.grad(lambda v: g(v).sum())(v) for v in stacked])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(lambda v: g(v).sum()))(stacked), want)
    torch.testing.assert_close(torch.func.grad(lambda v: torch.func.vmap(g)(v).sum())(stacked), want)


def call_of_each_operator():
    from test_compile import NAMES, call_of

    return [(name, call_of) for name in NAMES]


@pytest.mark.parametrize("name, call_of", call_of_each_operator(), ids=lambda x: x if isinstance(x, str) else "")
def test_opcheck(name, call_of):
    func, args, kwargs = call_of(name)
    args = [a.nan_to_num() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args]  # NaN != NaN
    differentiable = getattr(_torch.OPERATORS.get(name), "differentiable", None)
    for k, a in enumerate(args):
        if differentiable and differentiable[k] and isinstance(a, torch.Tensor):
            a.requires_grad_()
    kinds = ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    if name in ("physio_features", "hrv"):  # what is undefined is NaN, unequal to itself
        kinds.pop()
    torch.library.opcheck(func, tuple(args), kwargs, test_utils=kinds)
