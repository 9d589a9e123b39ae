"""Encoders, decoder and losses: shapes at any length, masks, and the hybrid loss against its formula in plain loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_store import one_thread

import physioclr as pc
from physioclr.nn.decoder import upsampling_factors
from physioclr.nn.halve import Halve
from physioclr.nn.model import joined

single = pytest.fixture(autouse=True, scope="module")(one_thread)


def small_transformer(**kwargs):
    return pc.nn.ECGTransformer(width=32, layers=2, heads=4, ffn=64, conv_channels=16, dropout=0.0, **kwargs)


ENCODERS = {"resnet": pc.nn.ResNet1d, "transformer": small_transformer}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("samples", [16, 129, 1134, 2500])
def test_encoder_shapes(name, samples):
    encoder = ENCODERS[name]().eval()
    out = encoder(torch.randn(3, 12, samples))
    tokens = math.ceil(samples / encoder.stride) if name == "resnet" else samples // encoder.stride
    assert out.tokens.shape == (3, tokens, encoder.width)
    assert out.pooled.shape == (3, encoder.width)
    torch.testing.assert_close(out.pooled, out.tokens.mean(1))


@pytest.mark.parametrize("name", ENCODERS)
def test_pooling_skips_what_is_not_valid(name):
    encoder = ENCODERS[name]().eval()
    x = torch.randn(2, 12, 640)
    valid = torch.ones(2, 640, dtype=torch.bool)
    valid[0, 320:] = False
    x[0, :, 320:] = 0
    out = encoder(x, valid)
    half = 320 // encoder.stride
    torch.testing.assert_close(out.pooled[0], out.tokens[0, :half].mean(0))
    torch.testing.assert_close(out.pooled[1], out.tokens[1].mean(0))
    nothing = encoder(x, torch.zeros_like(valid))
    assert torch.isfinite(nothing.pooled).all()


def test_transformer_padding_does_not_reach_valid_tokens():
    encoder = small_transformer().eval()
    x = torch.randn(1, 12, 640)
    valid = torch.arange(640)[None] < 320
    other = torch.where(valid[:, None], x, torch.randn(1, 12, 640))
    torch.testing.assert_close(encoder(x, valid).pooled, encoder(other, valid).pooled)


def test_published_size():
    with torch.device("meta"):
        encoder = pc.nn.ECGTransformer()
    convs = [m for m in encoder.convs if isinstance(m, torch.nn.Conv1d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == [(256, 2, 2)] * 4
    layer = encoder.transformer.layers[0]
    assert len(encoder.transformer.layers) == 12
    assert (layer.self_attn.embed_dim, layer.self_attn.num_heads, layer.linear1.out_features) == (768, 8, 3072)
    assert (encoder.position.conv.kernel_size[0], encoder.position.conv.groups) == (128, 16)


def test_default_is_small():
    assert 100_000 < sum(p.numel() for p in pc.nn.ResNet1d().parameters()) < 300_000


def test_transformer_layers_start_differently():
    a, b = small_transformer().transformer.layers
    assert not torch.equal(a.linear1.weight, b.linear1.weight)


def test_group_norm_keeps_rows_apart():
    encoder = pc.nn.ResNet1d(norm="group")
    x = torch.randn(4, 12, 256)
    torch.testing.assert_close(encoder(x).pooled[:1], encoder(x[:1]).pooled)


@pytest.mark.parametrize(
    ("x", "valid", "match"),
    [
        (torch.zeros(2, 11, 100), None, "x has shape .2, 11, 100.; it must be .batch, 12 leads"),
        (torch.zeros(2, 100), None, "x has shape"),
        (torch.zeros(2, 12, 0), None, "x has 0 samples"),
        (torch.zeros(2, 12, 100), torch.ones(2, 99, dtype=torch.bool), "valid has shape .2, 99."),
    ],
)
def test_encoder_errors(x, valid, match):
    with pytest.raises(ValueError, match=match):
        pc.nn.ResNet1d()(x, valid)


def test_size_errors():
    with pytest.raises(ValueError, match="width is 30; it must be a multiple of heads"):
        pc.nn.ECGTransformer(width=30, heads=4)
    with pytest.raises(ValueError, match="norm is 'layer'"):
        pc.nn.ResNet1d(norm="layer")


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 12, 16, 30, 32])
@pytest.mark.parametrize("samples", [1, 100, 151, 400])
def test_decoder_any_length(stride, samples):
    decoder = pc.nn.Decoder(8, leads=3, stride=stride, channels=(4, 4))
    assert math.prod(upsampling_factors(stride, 3)) == stride
    out = decoder(torch.randn(2, 9, 8), samples)
    assert out.signal.shape == (2, 3, samples)
    reach = min(samples, 9 * stride)
    assert out.made.tolist() == [True] * reach + [False] * (samples - reach)
    assert (out.signal[..., reach:] == 0).all()


def plain_hybrid(h, views, f, g, tau, delta):
    """METHOD: L_i = -log pos_i + log neg_i, mean over the rows with a negative (every row here has views)."""
    h = [v / np.linalg.norm(v) for v in h]
    views = [[v / np.linalg.norm(v) for v in view] for view in views]
    losses = []
    for i in range(len(h)):
        pos = sum(math.exp(h[i] @ view[i] / tau) for view in views)
        neg = 0.0
        for j in range(len(h)):
            if g[j] == g[i]:
                continue
            s = f[i] @ f[j] / (np.linalg.norm(f[i]) * np.linalg.norm(f[j]))
            e = math.exp(h[i] @ h[j] / tau)
            pos, neg = (pos + e, neg) if s >= delta else (pos, neg + e)
        if neg:
            losses.append(math.log(neg) - math.log(pos))
    return sum(losses) / len(losses)


def test_hybrid_loss_is_its_formula(rng):
    n, leads, samples, fs = 6, 2, 200, 500.0
    h, views = rng.normal(size=(n, 5)), rng.normal(size=(2, n, 5))
    f, g = rng.normal(size=(n, 4)), np.array([0, 0, 1, 1, 2, 3])
    x, x_hat = rng.normal(size=(2, n, leads, samples)).astype(np.float32)
    valid = rng.random((n, leads, samples)) < 0.8
    x[~valid] = np.nan
    peaks = np.array([[30, 90, -1], [45, 60, -1], [-1, -1, -1], [0, 199, -1], [100, -1, -1], [10, 20, 30]])
    alpha, beta, tau, delta = 0.3, 0.7, 0.2, 0.1
    inside = np.zeros(x.shape, bool)
    for row, r in enumerate(peaks):
        for p in r[r >= 0]:
            inside[row, :, max(0, p - 20) : p + 21] = True
    squares = (x_hat - x).astype(np.float64) ** 2
    mse, peak = squares[valid].mean(), squares[valid & inside].mean()
    contrastive = plain_hybrid(h, views, f, g, tau, delta)

    loss = pc.nn.HybridLoss(tau=tau, delta=delta, alpha=alpha, beta=beta, fs=fs)
    tensors = [torch.from_numpy(a).float() for a in (h, views, f)]
    out = loss(*tensors, torch.from_numpy(g), x_hat=torch.from_numpy(x_hat), x=torch.from_numpy(x),
               valid=torch.from_numpy(valid), rpeaks=torch.from_numpy(peaks).int())  # fmt: skip
    assert float(out.contrastive) == pytest.approx(contrastive, rel=1e-4)
    assert float(out.reconstruction) == pytest.approx(mse, rel=1e-5)
    assert float(out.peak) == pytest.approx(peak, rel=1e-5)
    assert float(out.total) == pytest.approx(contrastive + alpha * mse + beta * peak, rel=1e-4)


def test_missing_target_sends_no_gradient():
    x = torch.randn(2, 3, 50)
    x[0, 1, 10:20] = float("nan")
    x_hat = torch.zeros(2, 3, 50, requires_grad=True)
    mse, peak = pc.nn.HybridLoss().reconstruction(x_hat, x, torch.isfinite(x), torch.tensor([[15], [30]]).int())
    (mse + peak).backward()
    assert torch.isfinite(x_hat.grad).all()
    assert (x_hat.grad[0, 1, 10:20] == 0).all() and (x_hat.grad[0, 0] != 0).all()


def test_no_valid_sample_is_zero():
    x_hat = torch.ones(1, 2, 30)
    mse, peak = pc.nn.HybridLoss().reconstruction(
        x_hat, x_hat, torch.zeros_like(x_hat, dtype=torch.bool), torch.tensor([[5]]).int()
    )
    assert float(mse) == 0 and float(peak) == 0


def test_a_model_without_predictor_says_so():
    with pytest.raises(ValueError, match="features is 0"):
        pc.nn.PhysioCLR(pc.nn.ResNet1d()).predict(torch.zeros(2, 3, 128))


def test_hybrid_loss_names_what_is_left_out():
    h, f = torch.randn(4, 3), torch.eye(2).repeat(2, 1)
    with pytest.raises(ValueError, match="x is None"):
        pc.nn.HybridLoss()(h, h[None], f, x_hat=torch.zeros(4, 1, 8))
    with pytest.raises(ValueError, match="rpeaks is None"):
        pc.nn.HybridLoss()(h, h[None], f, x_hat=torch.zeros(4, 1, 8), x=torch.zeros(4, 1, 8))


def test_nt_xent_is_its_formula(rng):
    a, b = rng.normal(size=(2, 4, 3))
    h = np.concatenate((a, b))
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    for group in (None, np.array([0, 0, 1, 2])):
        total = 0.0
        for i in range(8):
            j = (i + 4) % 8
            others = [k for k in range(8) if k != i and (k == j or group is None or group[k % 4] != group[i % 4])]
            total -= h[i] @ h[j] / 0.5 - math.log(sum(math.exp(h[i] @ h[k] / 0.5) for k in others))
        g = None if group is None else torch.from_numpy(group)
        loss = pc.nn.nt_xent(torch.from_numpy(a), torch.from_numpy(b), g, tau=0.5)
        assert float(loss) == pytest.approx(total / 8, rel=1e-5)


def test_info_nce_is_its_formula(rng):
    a, b = rng.normal(size=(2, 4, 3))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    group = np.array([0, 0, 1, 2])
    total = 0.0
    for p, q in ((a, b), (b, a)):
        for i in range(4):
            others = [k for k in range(4) if k == i or group[k] != group[i]]
            total -= p[i] @ q[i] / 0.5 - math.log(sum(math.exp(p[i] @ q[k] / 0.5) for k in others))
    loss = pc.nn.info_nce(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(group), tau=0.5)
    assert float(loss) == pytest.approx(total / 8, rel=1e-5)


def test_alignment_uniformity():
    h = torch.eye(3)
    alignment, uniformity = pc.nn.alignment_uniformity(h, h)
    assert alignment == 0
    assert uniformity == pytest.approx(-4.0)  # every distance is sqrt(2)
    h, v = torch.randn(1300, 9), torch.randn(1300, 9)
    for rows in (None, 700):
        alignment, uniformity = pc.nn.alignment_uniformity(h, v, rows)
        x, y = (torch.nn.functional.normalize(z[:rows].double(), dim=1) for z in (h, v))
        assert alignment == pytest.approx((x - y).square().sum(1).mean().item())
        assert uniformity == pytest.approx(torch.nn.functional.pdist(x).square().mul(-2).exp().mean().log().item())
    assert np.isnan(pc.nn.alignment_uniformity(h[:1], h[:1])[1])


def model_inputs(n=4, samples=256):
    return {
        "anchor": torch.randn(n, 12, samples),
        "shuffled": torch.randn(n, 12, samples),
        "features": torch.randn(n, 5),
        "group": torch.arange(n) // 2,
        "pair": torch.arange(n) ^ 1,
        "rpeaks": torch.tensor([[50, 150]] * n).int(),
    }


@pytest.mark.parametrize("name", ENCODERS)
def test_model_trains_every_parameter(name):
    model = pc.nn.PhysioCLR(ENCODERS[name](), projection=16)
    out = model(**model_inputs())
    out.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert out.reconstruction.item() > 0 and out.peak.item() > 0


def test_model_needs_a_view_and_sends_gradient_through_the_pair():
    model = pc.nn.PhysioCLR(pc.nn.ResNet1d(norm="group"), pc.nn.HybridLoss(alpha=0, beta=0))
    assert model.decoder is None
    inputs = model_inputs()
    with pytest.raises(ValueError, match="at least one view"):
        model(inputs["anchor"], inputs["features"])
    # only row 0 has a negative of its own (row 1 is alike), yet row 1, its pair, gets a gradient
    anchor = inputs["anchor"].requires_grad_()
    features = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    model(anchor, features, torch.arange(4), pair=torch.tensor([1, 0, 3, 2])).total.backward()
    assert (anchor.grad.abs().sum((1, 2)) > 0).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_compiles(name):
    encoder = ENCODERS[name]().eval()
    x = torch.randn(2, 12, 320)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x).pooled, encoder(x).pooled)
    torch._dynamo.reset()


@pytest.mark.parametrize("mode", ["autocast", "medium"])
def test_losses_keep_float32_accuracy_in_every_mode(mode):
    from physioclr.nn.losses import alignment_uniformity, info_nce, nt_xent

    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 128, generator=g), torch.randn(64, 128, generator=g)
    features = torch.randn(64, 20, generator=g)

    def everything():
        x = a.clone().requires_grad_()
        values = [info_nce(x, b, tau=0.05), nt_xent(x, b, tau=0.05), pc.hybrid_contrastive_loss(x, b[None], features)]
        (grad,) = torch.autograd.grad(sum(values), x)
        return [v.detach() for v in values] + [grad, torch.tensor(alignment_uniformity(a, b))]

    want, before = everything(), torch.get_float32_matmul_precision()
    try:
        if mode == "medium":
            torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "autocast"):
            got = everything()
    finally:
        torch.set_float32_matmul_precision(before)
    for x, y in zip(got, want, strict=True):
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


# ---- what a step does in fewer passes over the batch


@pytest.mark.parametrize("samples", [1, 2, 9, 125])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_halving_has_the_bits_of_average_pooling(samples, dtype):
    x = torch.randn(3, 4, samples, dtype=dtype)
    slow = torch.nn.AvgPool1d(2, ceil_mode=True, count_include_pad=False)
    pooled = []
    for pool in (lambda x: Halve()(x.unsqueeze(2).contiguous(memory_format=torch.channels_last)).squeeze(2), slow):
        leaf = x.clone().requires_grad_()
        y = pool(leaf)
        y.backward(torch.linspace(-1, 1, y.numel()).view_as(y).to(dtype))
        pooled.append((y.detach(), leaf.grad))
    for fast, reference in zip(*pooled, strict=True):
        assert torch.equal(fast, reference)


def plain_resnet(net, x, training):
    """ResNet1d of norm batch or group as its docstring says it, in three dimensions and without a trick."""

    def norm(m, x):
        if isinstance(m, torch.nn.GroupNorm):
            return F.group_norm(x, m.num_groups, m.weight, m.bias, m.eps)
        mean, var = m.running_mean, m.running_var
        if training:
            mean, var = x.mean((0, 2)), x.var((0, 2), correction=0)
        scale = m.weight / (var + m.eps).sqrt()
        return (x - mean[:, None]) * scale[:, None] + m.bias[:, None]

    def conv(m, x):
        return F.conv1d(x, m.weight, None, m.stride, m.padding)

    x = conv(net.stem, x)
    for block in net.layers:
        y = conv(block.conv1, norm(block.norm1, x).relu())
        y = conv(block.conv2, norm(block.norm2, y).relu())
        if not isinstance(block.pool, torch.nn.Identity):
            x = F.avg_pool1d(x, 2, ceil_mode=True, count_include_pad=False)
        x = y + (x if isinstance(block.skip, torch.nn.Identity) else conv(block.skip, x))
    return norm(net.norm, x).relu().transpose(1, 2)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("samples", [500, 33, 1])
def test_resnet_is_the_network_written_plainly(norm, training, samples):
    torch.manual_seed(0)
    net = pc.nn.ResNet1d(channels=(8, 16), blocks=2, norm=norm).double().train(training)
    for name, x in net.state_dict().items():  # what a fresh network has of ones and zeros hides what it does
        if x.is_floating_point() and x.ndim == 1:
            x.uniform_(0.5, 1.5)
        assert x.ndim in (0, 1, 3), name  # the weights keep the shapes of one-dimensional convolutions
    x = torch.randn(5, 12, samples, dtype=torch.float64)
    got, want = [], []
    for out, forward in ((got, lambda x: net(x).tokens), (want, lambda x: plain_resnet(net, x, training))):
        leaf = x.clone().requires_grad_()
        tokens = forward(leaf)
        weight = torch.linspace(-1, 1, tokens.numel(), dtype=tokens.dtype).view_as(tokens)
        out += [tokens, *torch.autograd.grad((weight * tokens).sum(), [leaf, *net.parameters()])]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("stride", [1, 6, 16, 32, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decoder_is_the_transposed_convolutions_that_its_weights_are_of(stride, dtype):
    torch.manual_seed(0)
    decoder = pc.nn.Decoder(24, 12, stride=stride).to(dtype)

    def plainly(tokens):
        x = tokens.transpose(1, 2)
        for m in decoder.layers:
            x = F.gelu(x) if isinstance(m, torch.nn.GELU) else (
                F.conv_transpose1d(x.contiguous(), m.weight, m.bias, m.stride, m.padding))  # fmt: skip
        return x

    for tokens in (torch.randn(3, 7, 24), torch.randn(2, 1, 24)):
        got, want = [], []
        for out, decode in ((got, lambda x: decoder(x, x.shape[1] * stride).signal), (want, plainly)):
            leaf = tokens.to(dtype).requires_grad_()
            signal = decode(leaf)
            assert signal.shape == (len(tokens), 12, tokens.shape[1] * stride)
            weight = torch.linspace(-1, 1, signal.numel(), dtype=dtype).view_as(signal)
            out += [signal, *torch.autograd.grad((weight * signal).sum(), [leaf, *decoder.parameters()])]
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.detach().abs().max()))


def test_views_in_one_piece_of_memory_are_joined_without_a_copy():
    room = torch.randn(3, 4, 12, 9)
    a, b, c = room
    together = joined([a, b, c])
    assert together.data_ptr() == room.data_ptr()
    assert torch.equal(together, room.flatten(0, 1))
    assert joined([a]) is a
    leaf = torch.randn(4, 12, 9, requires_grad=True)
    for apart in ([a, c], [b, a], [a, b.clone()], [a, b.transpose(1, 2).reshape(4, 12, 9)], [leaf, leaf], [a[:2], b],
                  [a[:, :6].contiguous(), b[:, :6].contiguous()]):  # fmt: skip
        copied = joined(apart)
        assert torch.equal(copied, torch.cat(apart))
        assert copied.data_ptr() not in [x.data_ptr() for x in apart]
    joined([leaf, leaf]).sum().backward()
    assert torch.equal(leaf.grad, torch.full_like(leaf, 2.0))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_reconstruction_sums_are_those_of_the_formula(missing, beta):
    loss = pc.nn.HybridLoss(alpha=0.2, beta=beta, fs=100)
    x, start = torch.randn(3, 12, 200), torch.randn(3, 12, 200)
    valid = torch.ones(3, 12, 200, dtype=torch.bool)
    if missing:
        valid[0, 2, 50:90] = False
        valid[1] = False
    rpeaks = torch.tensor([[20, 110], [60, -1], [0, 199]])
    near = torch.zeros(3, 1, 200, dtype=torch.bool)
    for row, at in enumerate(rpeaks):
        for r in at[at >= 0].tolist():
            near[row, :, max(0, r - 4) : r + 5] = True
    x_hat, other = start.clone().requires_grad_(), start.clone().double().requires_grad_()
    given = torch.where(valid, x, torch.tensor(float("nan")))
    sums = loss.reconstruction_sums(x_hat, given, valid if missing else None, rpeaks)
    error = torch.where(valid, other - x.double(), 0.0).square()
    wanted = error.sum((1, 2)), (error * near).sum((1, 2)) if beta else torch.zeros(3)
    torch.testing.assert_close(sums.squares, wanted[0].float())
    torch.testing.assert_close(sums.peak_squares.float(), wanted[1].float())
    assert torch.equal(sums.count, valid.sum((1, 2)))
    assert torch.equal(sums.peak_count, (valid & near).sum((1, 2)) if beta else torch.zeros(3, dtype=torch.int64))
    weight = torch.tensor([1.0, 2.0, -3.0])
    (weight * sums.squares + weight.flip(0) * sums.peak_squares).sum().backward()
    (weight * wanted[0] + weight.flip(0) * wanted[1]).sum().backward()
    torch.testing.assert_close(x_hat.grad, other.grad.float())
