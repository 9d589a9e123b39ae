"""physio_similarity and physio_neighbors on one core, beside torch.mm alone and what peers do for the same result.

pytest benchmarks/bench_similarity.py

"torch.mm(out=)" is the product alone, into a matrix that is there already: no row's work, the floor beneath it; every
other row also allocates its result. faiss and
scikit-learn take part where they are installed.
"""

import numpy as np
import pytest
import torch

import physioclr as pc

N, F, K, SIGMA, DELTA = 8192, 50, 10, 13.0, 0.25


@pytest.fixture(scope="module")
def features():
    return torch.randn(N, F, generator=torch.Generator().manual_seed(0)) * 2


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads(), pc.info()["threads"]
    torch.set_num_threads(1)
    pc.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    pc.set_num_threads(before[1])


def unit(x):
    return torch.nn.functional.normalize(x, dim=1)


def torch_mm(x):
    out, xt = torch.empty(N, N), x.T
    return lambda: torch.mm(x, xt, out=out)


def torch_rbf(x):
    norms = x.square().sum(1)
    return lambda: torch.mm(x, x.T).mul_(-2).add_(norms[:, None]).add_(norms).mul_(-0.5 / SIGMA**2).exp_()


def sklearn_rbf(x):
    pairwise, a = pytest.importorskip("sklearn.metrics.pairwise"), x.numpy()
    return lambda: pairwise.rbf_kernel(a, gamma=0.5 / SIGMA**2)


def faiss_knn(x):
    faiss, a = pytest.importorskip("faiss"), np.ascontiguousarray(unit(x).numpy())
    faiss.omp_set_num_threads(1)
    return lambda: faiss.knn(a, a, K + 1, metric=faiss.METRIC_INNER_PRODUCT)


def faiss_rbf(x):
    faiss, a = pytest.importorskip("faiss"), np.ascontiguousarray(x.numpy())
    faiss.omp_set_num_threads(1)
    return lambda: np.exp(faiss.pairwise_distances(a, a) * (-0.5 / SIGMA**2))


DENSE = {
    "floor: torch.mm(out=) alone": torch_mm,
    "torch, cosine": lambda x: lambda: unit(x) @ unit(x).T,
    "torch, rbf in place": torch_rbf,
    "sklearn rbf_kernel": sklearn_rbf,
    "faiss + exp, rbf": faiss_rbf,
    "physioclr cosine": lambda x: lambda: pc.physio_similarity(x),
    "physioclr rbf": lambda x: lambda: pc.physio_similarity(x, kernel="rbf", sigma=SIGMA),
}
MASK = {
    "floor: torch.mm(out=) alone": torch_mm,
    "torch, bool mask": lambda x: lambda: unit(x) @ unit(x).T >= DELTA,
    "physioclr bool mask": lambda x: lambda: pc.physio_similarity(x, threshold=DELTA),
    "physioclr packed mask": lambda x: lambda: pc.physio_similarity(x, threshold=DELTA, packed=True),
}
NEIGHBORS = {
    "floor: torch.mm(out=) alone": torch_mm,
    "torch mm + topk": lambda x: lambda: (unit(x) @ unit(x).T).fill_diagonal_(-2).topk(K),
    "faiss.knn": faiss_knn,
    "physioclr": lambda x: lambda: pc.physio_neighbors(x, k=K),
}


@pytest.mark.parametrize("method", DENSE)
def test_dense(benchmark, features, method):
    benchmark.group = f"dense {'rbf' if 'rbf' in method else 'cosine'}, N = {N}, F = {F}, one core"
    benchmark.pedantic(DENSE[method](features), rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group=f"thresholded mask, N = {N}, F = {F}, one core")
@pytest.mark.parametrize("method", MASK)
def test_mask(benchmark, features, method):
    benchmark.pedantic(MASK[method](features), rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group=f"{K} nearest, N = {N}, F = {F}, one core")
@pytest.mark.parametrize("method", NEIGHBORS)
def test_neighbors(benchmark, features, method):
    benchmark.pedantic(NEIGHBORS[method](features), rounds=7, warmup_rounds=1)
