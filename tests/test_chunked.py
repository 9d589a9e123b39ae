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
