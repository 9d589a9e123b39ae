"""Batch normalisation and ReLU of the encoder as one kernel: what it computes, and where it leaves it to torch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from training_store import SMALL, FakeStore, one_thread

import physioclr as pc
from physioclr import _core, _isa
from physioclr.nn import layers
from physioclr.nn.norm import BatchNorm, norm_relu
from physioclr.train import pretrain

single = pytest.fixture(autouse=True, scope="module")(one_thread)
SHAPES = [
    (2, 1, 1),
    (1, 5, 2),
    (1, 16, 500),
    (3, 16, 33),
    (7, 12, 9),
    (4, 33, 65),
    (5, 67, 31),
    (256, 128, 8),
    (64, 16, 125),
]


def layer(channels, **options):
    norm = BatchNorm(channels, **options)
    with torch.no_grad():
        for p in (norm.weight, norm.bias):
            p.uniform_(-1.5, 1.5)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


def channels_last(*shape, dtype=torch.float32, offset=0.0, scale=1.0):
    b, c, t = shape
    x = offset + scale * torch.randn(b, c, 1, t)
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def written_out(x, weight, bias, eps, grad):
    """y, gradients of x, weight and bias, mean and unbiased variance, from the definition in float64."""
    x, weight, bias, grad = (v.detach().double() for v in (x, weight, bias, grad))
    n, each = x.numel() // x.shape[1], (None, slice(None), None, None)
    mean = x.mean((0, 2, 3))
    var = (x - mean[each]).square().mean((0, 2, 3))
    z = (x - mean[each]) / (var + eps).sqrt()[each]
    y = z * weight[each] + bias[each]
    g = torch.where(y <= 0, 0.0, grad)
    of_weight, of_bias = (g * z).sum((0, 2, 3)), g.sum((0, 2, 3))
    of_x = (weight / (var + eps).sqrt())[each] * (g - of_bias[each] / n - z * of_weight[each] / n)
    return y.clamp_min(0), of_x, of_weight, of_bias, mean, var * n / (n - 1)


@pytest.fixture
def used(monkeypatch):
    """How often the kernel ran."""
    calls = []
    kernel = layers.batch_norm_relu
    monkeypatch.setattr(layers, "batch_norm_relu", lambda *given: calls.append(1) or kernel(*given))
    return calls


def both_ways(norm, x, grad):
    x = x.detach().requires_grad_()
    y = norm_relu(norm, x)
    return [y.detach(), *torch.autograd.grad(y, [x, norm.weight, norm.bias], grad)]


def apart(a, b):
    """The largest difference, over the largest value."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype, tol", [(torch.float32, 4e-6), (torch.bfloat16, 8e-3)])
def test_it_is_its_definition(shape, dtype, tol, used):
    torch.manual_seed(0)
    norm = layer(shape[1], momentum=0.3)
    x, grad = (channels_last(*shape, dtype=dtype, offset=offset) for offset in (0.7, 0.1))
    y, of_x, of_weight, of_bias, mean, var = written_out(x, norm.weight, norm.bias, norm.eps, grad)
    running = [0.7 * norm.running_mean + 0.3 * mean, 0.7 * norm.running_var + 0.3 * var]
    got = both_ways(norm, x, grad)
    assert used and got[0].dtype == got[1].dtype == dtype and got[2].dtype == torch.float32
    assert got[0].is_contiguous(memory_format=torch.channels_last)
    assert apart(got[0], y) <= tol
    if x.numel() > 2 * shape[1]:
        assert apart(got[1], of_x) <= tol
    else:  # of two rows the terms cancel but for eps: what is left is rounding of them
        terms = (norm.weight / (var * (1 - shape[1] / x.numel()) + norm.eps).sqrt())[:, None, None] * grad
        assert (got[1].double() - of_x).abs().max() <= tol * terms.abs().max()
    for a, b in ((got[2], of_weight), (got[3], of_bias)):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=4e-6 * x.numel() / shape[1])
    for a, b in zip((norm.running_mean, norm.running_var), running, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-6, atol=2e-6)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_as_near_to_float64_as_torch(dtype, used):
    """A whole training step's worth of shapes, signals far from 0 among them."""
    torch.manual_seed(1)
    for shape in SHAPES[2:]:
        for offset, scale in ((0.0, 1.0), (3.0, 0.2), (100.0, 5.0)):
            norm = layer(shape[1])
            x, grad = channels_last(*shape, dtype=dtype, offset=offset, scale=scale), channels_last(*shape, dtype=dtype)
            want = written_out(x, norm.weight, norm.bias, norm.eps, grad)
            other, leaf = copy.deepcopy(norm), x.clone().requires_grad_()
            y = F.relu(other(leaf))
            theirs = [y, *torch.autograd.grad(y, [leaf, other.weight, other.bias], grad)]
            ours = both_ways(norm, x, grad)
            for a, b, c in zip(ours, theirs, want, strict=False):
                error, allowed = (a.double() - c).norm(), 1.1 * (b.double() - c).norm()
                assert error <= allowed + 2e-6 * c.norm()
            torch.testing.assert_close(norm.running_mean, other.running_mean, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(norm.running_var, other.running_var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 12345.678])
def test_a_constant_channel_gives_its_bias(value, used):
    norm = layer(18)
    x = channels_last(9, 18, 111)
    x[:, 3], x[:, 17] = value, -value
    got = both_ways(norm, x, torch.ones_like(x))
    for c in (3, 17):
        torch.testing.assert_close(got[0][:, c], norm.bias[c].relu().expand(9, 1, 111).detach(), rtol=0, atol=1e-3)
    assert used and all(torch.isfinite(v).all() for v in got)


def test_a_missing_value_spoils_its_channel_and_no_other(used):
    norm = layer(20)
    for value in (float("nan"), float("inf")):
        x = channels_last(3, 20, 50)
        whole = norm_relu(norm, x.clone())
        x[1, 4, 0, 7] = x[2, 18, 0, 0] = value
        y = norm_relu(norm, x)
        spoilt = torch.zeros(20, dtype=torch.bool)
        spoilt[[4, 18]] = True
        assert y[:, spoilt].isnan().all() and torch.equal(y[:, ~spoilt], whole[:, ~spoilt])
    assert norm.running_mean[4].isnan() and not norm.running_mean[5].isnan() and len(used) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_threads_nor_instructions_change_a_bit(dtype, used):
    torch.manual_seed(2)
    x, grad, norm = channels_last(31, 39, 77, dtype=dtype), channels_last(31, 39, 77, dtype=dtype), layer(39)
    threads, level = _core.num_threads(), _isa.NAMES.index(_core.isa()[0])
    found = []
    try:
        for n in (1, 2, 5):
            for limit in range(_isa.NAMES.index(_core.isa()[1]) + 1):
                _core.set_num_threads(n)
                _core.testing.limit_isa(limit)
                other = copy.deepcopy(norm)
                found.append([*both_ways(other, x, grad), other.running_mean, other.running_var])
    finally:
        _core.set_num_threads(threads)
        _core.testing.limit_isa(level)
    assert len(used) == len(found)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_gradients_of_other_forms(used):
    """Of another layout, another dtype, expanded, or none at all for x."""
    norm, x = layer(16), channels_last(5, 16, 9)
    grad = torch.randn(5, 16, 1, 9)
    for g in (grad, grad[:1, :, :, :1].expand(5, 16, 1, 9), grad.flip(0)):
        same = g.contiguous(memory_format=torch.channels_last)
        for a, b in zip(both_ways(norm, x, g), both_ways(norm, x, same), strict=True):
            assert torch.equal(a, b)
    y = norm_relu(norm, x)  # x needs no gradient
    assert torch.equal(torch.autograd.grad(y, norm.weight, grad)[0], both_ways(norm, x, grad)[2])
    norm.weight.requires_grad_(False)
    leaf = x.clone().requires_grad_()
    assert torch.autograd.grad(norm_relu(norm, leaf).sum(), [leaf, norm.bias])[0].shape == x.shape
    with torch.no_grad():
        assert not norm_relu(norm, x).requires_grad


def test_second_derivatives_are_those_of_torch(used):
    torch.manual_seed(3)
    norm, x, grad = layer(6), channels_last(3, 6, 5), channels_last(3, 6, 5)
    found = []
    for f in (norm_relu, lambda norm, x: F.relu(norm(x))):
        leaf = x.clone().requires_grad_()
        first = torch.autograd.grad(f(norm, leaf), [leaf, norm.weight], grad, create_graph=True)
        penalty = sum(g.square().sum() for g in first)
        found.append(torch.autograd.grad(penalty, [leaf, norm.weight]))
    assert len(used) == 1
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def by_torch(change):
    norm, x = layer(16), channels_last(4, 16, 9)
    if change == "eval":
        norm.eval()
    elif change == "layout":
        x = x.contiguous()
    elif change == "dtype":
        norm, x = norm.double(), x.double()
    elif change == "momentum":
        norm.momentum = None
    elif change == "untracked":
        norm = BatchNorm(16, track_running_stats=False)
    elif change == "not affine":
        norm = BatchNorm(16, affine=False)
    elif change == "hook":
        norm.register_forward_hook(lambda *_: None)
    elif change == "group":
        norm = torch.nn.GroupNorm(2, 16)
    elif change == "subclass":
        norm = type("Own", (BatchNorm,), {})(16)
    return norm, x


OTHERS = ["eval", "layout", "dtype", "momentum", "untracked", "not affine", "hook", "group", "subclass"]


@pytest.mark.parametrize("change", OTHERS)
def test_all_else_is_left_to_torch(change, used):
    norm, x = by_torch(change)
    other = copy.deepcopy(norm)
    assert torch.equal(norm_relu(norm, x), F.relu(other(x))) and not used
    for a, b in zip(norm.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_wrong_input_has_the_errors_of_torch(used):
    norm = layer(16)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu(norm, channels_last(1, 16, 1))
    with pytest.raises(ValueError, match="dimensions"):
        norm_relu(norm, torch.zeros(2, 16, 5))
    with pytest.raises((ValueError, RuntimeError)):
        norm_relu(norm, channels_last(2, 15, 5))
    assert not used


@pytest.mark.filterwarnings("ignore")  # jit.trace: it is deprecated, and sees branches
def test_whoever_traces_sees_torch(used):
    x = torch.randn(3, 12, 200)
    net = pc.nn.ResNet1d(channels=(16, 32))
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="aot_eager")
    assert compiled(x).pooled.shape == (3, 32)
    torch.jit.trace(copy.deepcopy(net), x, check_trace=False, strict=False)
    with torch.profiler.profile() as seen:
        net(x)
    assert not used and any("batch_norm" in event.name for event in seen.events())
    net(x)
    assert len(used) == 5


def encoder_step(amp):
    torch.manual_seed(4)
    net = pc.nn.ResNet1d(channels=(16, 32, 64))
    x, direction = torch.randn(24, 12, 500), torch.randn(24, 64)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        pooled = net(x).pooled
    (pooled.float() * direction).sum().backward()
    return [pooled.detach().float(), *(p.grad for p in net.parameters()), *(b.double() for b in net.buffers())]


def test_a_step_of_the_encoder_is_as_with_torch(used, monkeypatch):
    """In float32 up to rounding and to ReLUs that flip; in bfloat16 as far from float32 as torch's is."""
    ours, narrow = encoder_step(False), encoder_step(True)
    assert len(used) == 14
    monkeypatch.setattr("physioclr.nn.norm._fits", lambda norm, x: False)
    theirs, their_narrow = encoder_step(False), encoder_step(True)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 2e-3 * b.norm().clamp_min(1e-3)
    for k in (slice(0, 1), slice(1, None)):  # what comes out; all gradients and statistics
        a, b, c = (torch.cat([v.flatten().double() for v in step[k]]) for step in (narrow, their_narrow, theirs))
        assert (a - c).norm() <= 1.15 * (b - c).norm()


@pytest.mark.parametrize("amp", [False, True])
def test_two_trainings_have_the_same_bits(tmp_path, amp, used):
    store, weights = FakeStore(12), []
    for k in range(2):
        pretrain(store, tmp_path / str(k), SMALL.replace(steps=3, amp=amp, channels=[16, 32]))
        weights.append(load_file(tmp_path / str(k) / "checkpoints" / "step_0000000003" / "model.safetensors"))
    assert used and weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
