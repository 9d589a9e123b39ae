import pytest
import torch
from torch import nn

import physioclr as pc
from physioclr.nn import chunked_backward

N, L, T = 23, 2, 64


class Small(nn.Module):
    def __init__(self, dropout=0.0, norm=nn.Identity):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv1d(L, 6, 5), norm(6), nn.Dropout(dropout)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.drop(torch.tanh(self.norm(self.conv(x)))).mean(-1))


@pytest.fixture
def segments():
    gen = torch.Generator().manual_seed(2)
    return torch.randn(3 * N, L, T, dtype=torch.float64, generator=gen)


@pytest.fixture
def loss():
    features = torch.randn(N, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return lambda h: pc.hybrid_contrastive_loss(h[:N], h[N:].reshape(2, N, -1), features, tau=0.3)


def gradients(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


@pytest.mark.parametrize("chunk_size", [1, 7, 23, 69, 1000])
def test_equals_one_pass(segments, loss, chunk_size):
    torch.manual_seed(0)
    net = Small().double()
    whole = loss(net(segments))
    whole.backward()
    want = gradients(net)
    net.zero_grad()
    value = chunked_backward(net, loss, segments, chunk_size=chunk_size)
    torch.testing.assert_close(value, whole.detach(), rtol=1e-12, atol=0)
    assert not value.requires_grad
    torch.testing.assert_close(gradients(net), want, rtol=1e-9, atol=1e-12)
    chunked_backward(net, loss, segments, chunk_size=chunk_size)  # adds, as backward does
    torch.testing.assert_close(gradients(net), 2 * want, rtol=1e-9, atol=1e-12)


def test_dropout_draws_the_same_numbers_twice(segments, loss):
    torch.manual_seed(0)
    net = Small(dropout=0.5).double()
    torch.manual_seed(1)
    loss(torch.cat([net(x) for x in segments.split(10)])).backward()
    want, after = gradients(net), torch.get_rng_state()
    net.zero_grad()
    torch.manual_seed(1)
    chunked_backward(net, loss, segments, chunk_size=10)
    torch.testing.assert_close(gradients(net), want, rtol=1e-9, atol=1e-12)
    assert torch.equal(torch.get_rng_state(), after)


def test_batch_norm_counts_each_chunk_once(segments, loss):
    torch.manual_seed(0)
    net, other = Small(norm=nn.BatchNorm1d).double(), Small(norm=nn.BatchNorm1d).double()
    other.load_state_dict(net.state_dict())
    loss(torch.cat([other(x) for x in segments.split(30)])).backward()
    chunked_backward(net, loss, segments, chunk_size=30)
    torch.testing.assert_close(gradients(net), gradients(other), rtol=1e-9, atol=1e-12)
    assert net.norm.num_batches_tracked == 3
    torch.testing.assert_close(net.norm.running_var, other.norm.running_var)


def test_several_inputs_outputs_and_a_loss_with_parameters(segments):
    net, weight = Small().double(), nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def encoder(batch):
        h = net(batch["x"])
        return h, h.square().sum(1) * batch["w"]

    def loss(h, q):
        return (weight * h).var(0).sum() + q.mean()

    batch = {"x": segments, "w": torch.linspace(0, 1, len(segments), dtype=torch.float64)}
    loss(*encoder(batch)).backward()
    want, want_weight = gradients(net), weight.grad
    net.zero_grad()
    weight.grad = None
    chunked_backward(encoder, loss, batch, chunk_size=8)
    torch.testing.assert_close(gradients(net), want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(weight.grad, want_weight)


def test_graphs_of_one_chunk_at_a_time(segments, loss):
    net, alive = Small().double(), []

    def encoder(x):
        out = net(x)
        alive.append((len(x), out.requires_grad))
        return out

    chunked_backward(encoder, loss, segments, chunk_size=30)
    assert alive == [(30, False), (30, False), (9, False), (30, True), (30, True), (9, True)]


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(chunk_size=0), ValueError, "chunk_size is 0; it must be an integer of at least 1"),
        (dict(inputs=(torch.zeros(3, 2), torch.zeros(2))), ValueError, "their first dimension must be equal"),
        (dict(inputs=[]), TypeError, "inputs contains no tensor"),
        (dict(encoder=lambda x: x[:1]), ValueError, "for a chunk of 2 rows"),
        (dict(encoder=lambda x: [1.0]), TypeError, "encoder returned a float"),
        (dict(loss=lambda h: h), ValueError, r"loss returned shape \(4, 2\)"),
    ],
)
def test_errors(change, error, message):
    arguments = dict(encoder=nn.Linear(2, 2), loss=lambda h: h.sum(), inputs=torch.zeros(4, 2), chunk_size=2)
    with pytest.raises(error, match=message):
        chunked_backward(**{**arguments, **change})
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"without torch\.no_grad"):
        chunked_backward(**arguments)


def test_integers_reach_the_loss_without_a_gradient(segments):
    torch.manual_seed(0)
    net, seen = Small().double(), []

    def loss(h, count):
        seen.append((count.dtype, count.tolist()))
        return (h.square().sum(1) / count).mean()

    chunked_backward(lambda x: (net(x), (x[:, 0, :3] > 0).sum(1) + 1), loss, segments, chunk_size=10)
    want = gradients(net)
    net.zero_grad()
    count = (segments[:, 0, :3] > 0).sum(1) + 1
    (net(segments).square().sum(1) / count).mean().backward()
    torch.testing.assert_close(want, gradients(net), rtol=1e-9, atol=1e-12)
    assert seen == [(torch.int64, count.tolist())]


# ---- compiled modules, which refuse to say their length ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_encoder(segments, loss, backend):
    torch.manual_seed(0)
    net = Small(norm=nn.BatchNorm1d).double()
    other = Small(norm=nn.BatchNorm1d).double()
    other.load_state_dict(net.state_dict())
    chunked_backward(net, loss, segments, chunk_size=23)
    compiled = torch.compile(other, backend=backend)
    chunked_backward(compiled, loss, segments, chunk_size=23)
    torch.testing.assert_close(gradients(other), gradients(net), rtol=1e-9, atol=1e-12)
    assert other.norm.num_batches_tracked == 3  # counted once a chunk, as without


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own tracing asks
@pytest.mark.parametrize("compiled", [("encoder",), ("decoder",), ("encoder", "decoder")], ids="+".join)
def test_the_model_takes_compiled_parts(compiled):
    def model(wrap):
        torch.manual_seed(0)
        encoder, decoder = pc.nn.ResNet1d(12, (8, 8)), pc.nn.Decoder(8, 12, 16)
        parts = {"encoder": encoder, "decoder": decoder}
        parts |= {k: wrap(parts[k]) for k in compiled}
        return pc.nn.PhysioCLR(parts["encoder"], decoder=parts["decoder"], projection=4)

    x, features = torch.randn(6, 12, 160), torch.randn(6, 5)
    results = []
    for wrap in (lambda m: m, lambda m: torch.compile(m, backend="eager")):
        net = model(wrap)
        assert net.decoder is not None
        terms = net(x, features, pair=torch.arange(6) ^ 1, rpeaks=torch.full((6, 1), 80))
        terms.total.backward()
        results.append((terms.total.item(), terms.reconstruction.item(), gradients(net)))
    assert results[0][:2] == pytest.approx(results[1][:2]) and results[0][1] > 0
    torch.testing.assert_close(results[0][2], results[1][2])


def test_a_decoder_without_layers_is_a_decoder_and_false_is_none():
    assert pc.nn.PhysioCLR(pc.nn.ResNet1d(12, (8, 8)), decoder=nn.Sequential()).decoder is not None
    assert pc.nn.PhysioCLR(pc.nn.ResNet1d(12, (8, 8)), decoder=False).decoder is None
