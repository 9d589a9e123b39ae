"""What meets the ops from other libraries: docs/interop.md has the results. Optional packages are skipped without."""

import socket
import subprocess
import sys

import numpy as np
import op_cases
import pytest
import torch

import physioclr as pc


@pytest.fixture(scope="module")
def inputs():
    return op_cases.made_up(3, 1500)


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_masked_signals_and_peaks(inputs):
    ecg = inputs.ecg.numpy()
    masked = np.ma.masked_invalid(ecg)
    masked.data[masked.mask] = 99.0
    for a, b in zip(pc.detect_rpeaks(masked, 500), pc.detect_rpeaks(ecg, 500), strict=True):
        same(a, b)
    peaks = inputs.rpeaks.numpy()
    same(pc.physio_features(masked, 500, np.ma.masked_equal(peaks, -1)), pc.physio_features(ecg, 500, peaks))
    raw = np.ma.array(inputs.raw.numpy(), mask=np.isnan(ecg))  # integers have no NaN: float32
    same(pc.detect_rpeaks(raw, 500).index, pc.detect_rpeaks(np.where(raw.mask, np.nan, raw.data), 500).index)
    assert pc.detect_rpeaks(np.ma.array(inputs.raw.numpy()), 500).count.sum() > 0
    same(pc.physio_features(inputs.ecg, 500, np.ma.masked_equal(peaks, -1)), pc.physio_features(ecg, 500, peaks))


def test_rpeaks_as_lists(inputs):
    found = pc.detect_rpeaks(inputs.ecg, 500)
    lists = found.lists()
    assert [len(one) for one in lists] == found.count.tolist() and all(one.dtype == np.int64 for one in lists)
    for one, row, n in zip(lists, found.index.numpy(), found.count, strict=True):
        same(one, row[:n])
    same(found._replace(index=found.index.numpy()).lists()[0], lists[0])


@pytest.mark.filterwarnings("ignore")  # wfdb's own, of pandas
def test_lists_are_what_wfdb_takes(inputs, tmp_path):
    wfdb = pytest.importorskip("wfdb")
    peaks = pc.detect_rpeaks(inputs.ecg, 500).lists()[1]
    wfdb.wrann("one", "qrs", sample=peaks, symbol=["N"] * len(peaks), fs=500, write_dir=str(tmp_path))
    same(wfdb.rdann(str(tmp_path / "one"), "qrs").sample, peaks)
    from wfdb.processing import compare_annotations

    assert compare_annotations(peaks, peaks + 1, 25).positive_predictivity == 1


@pytest.mark.filterwarnings("ignore")  # neurokit2's own
def test_lists_are_what_neurokit2_takes():
    nk = pytest.importorskip("neurokit2")
    ecg = op_cases.made_up(2, 5000).ecg
    peaks = pc.detect_rpeaks(ecg, 500).lists()[1]
    rr = np.diff(peaks) / 500 * 1000
    assert nk.hrv_time(peaks, sampling_rate=500)["HRV_MeanNN"].item() == pytest.approx(rr.mean())
    _, waves = nk.ecg_delineate(ecg[1, 1].numpy(), peaks, sampling_rate=500, method="peak")
    assert len(waves["ECG_T_Peaks"]) == len(peaks)


PLAN = pc.Augment(amplitude_scale=pc.AmplitudeScale(p=1))
ONE_RECORD = {
    "detect_rpeaks": lambda x, r: pc.detect_rpeaks(x, 500),
    "delineate": lambda x, r: pc.delineate(x, 500, r),
    "physio_features": lambda x, r: pc.physio_features(x, 500, r),
    "augment": lambda x, r: pc.augment(x, PLAN, fs=500, seed=1, rpeaks=r),
    "shuffle_beats": lambda x, r: pc.shuffle_beats(ecg=x, rpeaks=r, seed=1),
}


def as_pandas(x, column=pytest.importorskip):
    return column("pandas").DataFrame({"t": range(len(x)), "II": x})["II"]


def as_jax(x):
    return pytest.importorskip("jax").numpy.asarray(x)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, list, np.ma.asarray, as_pandas, as_jax])
@pytest.mark.parametrize("op", ONE_RECORD)
def test_one_dimension_is_one_record(inputs, op, kind):
    x, f = inputs.ecg[1, 1].numpy(), ONE_RECORD[op]
    peaks = pc.detect_rpeaks(x[None], 500)
    want = op_cases.flat(f(x[None], peaks.index))
    assert want[0].shape[0] == 1
    found = peaks.lists()[0]
    for given in (peaks, peaks.index, found, found.tolist(), torch.from_numpy(found)):
        if isinstance(given, torch.Tensor) and kind is not torch.from_numpy:
            continue
        for got, y in zip(op_cases.flat(f(kind(x), given)), want, strict=True):
            same(np.asarray(got)[..., : y.shape[-1]], y[..., : np.shape(got)[-1]])


def test_missing_values_of_a_column(inputs):
    pandas, x = pytest.importorskip("pandas"), inputs.ecg[1, 1].numpy().astype(np.float64)
    column = pandas.Series(x, dtype="Float64")
    column[300:900], x[300:900] = pandas.NA, np.nan
    same(pc.physio_features(column, 500), pc.physio_features(x[None], 500))


SAMPLE = pc.data.sample()


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["a", "b"], "ecg has dtype <U1; it must be one of"),
        ([[1.0], [1.0, 2.0]], r"ecg is a list of records of shapes \(1,\), \(2,\); it must be one array"),
        (3.0, r"ecg has shape \(\); it must be \(records, samples\)"),
        ("rec.hea", r"ecg is 'rec.hea'; it must be an array, such as physioclr.data.read_record\(path\)"),
        (SAMPLE.path / SAMPLE.record_ids[0], "ecg is PosixPath.*; it must be an array"),
        (pc.data.read_record(SAMPLE.path / SAMPLE.record_ids[0]), "ecg is a Record; it must be an array: record.milli"),
    ],
)
@pytest.mark.parametrize("op", ONE_RECORD)
def test_what_is_no_record_is_refused_by_name(op, wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ONE_RECORD[op](wrong, np.zeros((1, 0), np.int32))


def test_jax(inputs):
    jax = pytest.importorskip("jax")
    ecg, peaks, features = (jax.numpy.asarray(x.numpy()) for x in (inputs.ecg, inputs.rpeaks, inputs.features))
    for got, want in (
        (pc.detect_rpeaks(ecg, 500), pc.detect_rpeaks(inputs.ecg, 500)),
        (pc.delineate(ecg, 500, peaks), pc.delineate(inputs.ecg, 500, inputs.rpeaks)),
        (pc.physio_features(ecg, 500, return_paced=True), pc.physio_features(inputs.ecg, 500, return_paced=True)),
        (pc.hrv(peaks, 500), pc.hrv(inputs.rpeaks, 500)),
        ((pc.physio_similarity(features),), (pc.physio_similarity(inputs.features),)),
        ((pc.physio_similarity(features, threshold=0.2),), (pc.physio_similarity(inputs.features, threshold=0.2),)),
        (pc.physio_neighbors(features, k=3), pc.physio_neighbors(inputs.features, k=3)),
    ):
        assert type(got) is type(want)
        for a, b in zip(got, want, strict=True):
            assert isinstance(a, jax.Array)
            same(a, b)
    space = pc.FeatureSpace.fit(pc.physio_features(ecg, 500))
    out = space.transform(pc.physio_features(ecg, 500))
    assert isinstance(out, jax.Array) and out.dtype == jax.numpy.float32
    half = features.astype(jax.numpy.bfloat16)
    same(pc.physio_similarity(half), pc.physio_similarity(inputs.features.bfloat16()))
    same(pc.physio_features(inputs.ecg, 500, peaks), pc.physio_features(inputs.ecg, 500, inputs.rpeaks))
    with pytest.raises(TypeError, match="a is traced by JAX"):
        jax.jit(pc.physio_similarity)(features)
    assert all(isinstance(one, np.ndarray) for one in pc.detect_rpeaks(ecg, 500).lists())


def test_arrow(inputs):
    pa = pytest.importorskip("pyarrow")
    features = inputs.features.numpy()
    tensor = pa.Tensor.from_numpy(features)
    same(pc.physio_similarity(tensor.to_numpy()), pc.physio_similarity(features))
    wide = np.random.default_rng(0).normal(size=(30, 159)).astype(np.float32)
    table = pa.table({name: wide[:, k] for k, name in enumerate(pc.FEATURE_NAMES)})
    space = pc.FeatureSpace.fit(wide, n_components=5)
    same(space.transform(table.select(list(reversed(pc.FEATURE_NAMES)))), space.transform(wide))


def test_scikit_learn(inputs):
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import FunctionTransformer

    f = np.random.default_rng(0).normal(size=(40, 159)).astype(np.float32)
    space, y = pc.FeatureSpace.fit(f, n_components=8), np.arange(40) % 2
    model = pipeline.make_pipeline(FunctionTransformer(space.transform), KNeighborsClassifier(1, metric="cosine"))
    assert (model.fit(f, y).predict(f) == y).all()


def _count(ecg):
    return pc.detect_rpeaks(ecg, 500).count.tolist()


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_joblib(inputs, workers):
    joblib = pytest.importorskip("joblib")
    records = list(inputs.ecg.numpy()[:, None])
    got = joblib.Parallel(n_jobs=2, prefer=workers)(joblib.delayed(_count)(r) for r in records)
    assert got == [_count(r) for r in records]


def _step(rank, port, kind, out):
    import torch.distributed as dist

    from physioclr.nn import HybridLoss

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.manual_seed(0)
        net = torch.nn.Linear(12, 8)
        x, f = torch.randn(8, 12), torch.randn(8, 5)
        if kind == "ddp":
            wrapped = torch.nn.parallel.DistributedDataParallel(net)
        else:
            from torch.distributed.fsdp import fully_shard

            fully_shard(net, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (2,)))
            wrapped = net
        mine = slice(rank * 4, rank * 4 + 4)
        h = wrapped(x[mine])
        loss = HybridLoss()(h, 2 * h[None].flip(2), f[mine], process_group=dist.group.WORLD).contrastive
        (2 * loss).backward()  # both average the gradients
        grad = net.weight.grad
        grad = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        if rank == 0:
            torch.save((loss.detach(), grad), out)
        dist.barrier()  # gloo may end a process whose peer has left before it
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo")
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_distributed_wrappers(kind, tmp_path):
    from physioclr.nn import HybridLoss

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    torch.multiprocessing.spawn(_step, (port, kind, tmp_path / "out.pt"), nprocs=2)
    loss, grad = torch.load(tmp_path / "out.pt")
    torch.manual_seed(0)
    net = torch.nn.Linear(12, 8)
    x, f = torch.randn(8, 12), torch.randn(8, 5)
    h = net(x)
    want = HybridLoss()(h, 2 * h[None].flip(2), f).contrastive
    want.backward()
    torch.testing.assert_close(loss, want.detach())
    torch.testing.assert_close(grad, net.weight.grad)


class Front(torch.nn.Module):
    """What a service would run on raw records: R peaks, a view and features."""

    def forward(self, ecg):
        peaks = pc.detect_rpeaks(ecg * 1.0, 500.0)
        view, _ = pc.augment(ecg, pc.Augment.standard(), fs=500.0, seed=3, rpeaks=peaks)
        return peaks.index, view, pc.physio_features(view, 500.0, peaks)


@pytest.mark.slow  # a C++ compiler over the whole of inductor's output
@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_aotinductor(inputs, tmp_path):
    want = Front()(inputs.ecg)
    exported = torch.export.export(Front(), (inputs.ecg,))
    path = torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "front.pt2"))
    torch.save((inputs.ecg, want), tmp_path / "data.pt")
    code = """
import sys, torch, physioclr.nn
ecg, want = torch.load(sys.argv[2])
got = torch._inductor.aoti_load_package(sys.argv[1])(ecg)
for a, b in zip(got, want, strict=True):
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
"""
    subprocess.run([sys.executable, "-c", code, path, tmp_path / "data.pt"], check=True)  # of another process


# torch's own, of the list that Lightning's loops look through
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")
def test_lightning(inputs, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(12, 8)

        def training_step(self, batch, _):
            h = self.net(batch[0])
            return pc.hybrid_contrastive_loss(h, h[None].flip(2), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.TensorDataset(torch.randn(16, 12), torch.randn(16, 5))
    model = Model()
    before = model.net.weight.detach().clone()
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, precision="bf16-mixed", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, torch.utils.data.DataLoader(data, 8))
    assert torch.isfinite(model.net.weight).all() and not torch.equal(model.net.weight, before)
