"""A user's script over the whole public face, for a type checker: what goes in decides what comes out. Never run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import physioclr as pc
from physioclr.train.dataset import Batch
from physioclr.train.methods import Outputs

Array = np.ndarray[Any, np.dtype[Any]]  # of NumPy: the docstrings tell dtypes and shapes
ecg: npt.NDArray[np.float32] = np.zeros((8, 12, 5000), np.float32)
tensor: Tensor = torch.zeros(8, 12, 5000)

# ---- R peaks, waves, features
peaks, on_tensor = pc.detect_rpeaks(ecg, fs=500), pc.detect_rpeaks(tensor, 500.0, max_beats=40)
assert_type(peaks, pc.RPeaks[Array])
assert_type(peaks.index, Array)
assert_type(peaks.count, Array)
assert_type(peaks.quality, Array)
assert_type(peaks.lists(), list[npt.NDArray[np.int64]])
assert_type(peaks.expected_f1(), Array)
assert_type(on_tensor, pc.RPeaks[Tensor])
assert_type(on_tensor.expected_f1(), Tensor)
assert_type(on_tensor.index, Tensor)
assert_type(on_tensor.lists(), list[npt.NDArray[np.int64]])

waves = pc.delineate(ecg, 500, peaks, lead="all", leads=["I"], unit="uV")
assert_type(waves, pc.Delineation[Array])
assert_type(waves.qrs_on, Array)
assert_type(waves.intervals(500), pc.Intervals[Array])
assert_type(waves.intervals(500).qt, Array)
assert_type(pc.delineate(tensor, 500, on_tensor).t_peak, Tensor)
assert_type(pc.delineate(tensor, 500, [[100, 600, -1]]).intervals(500.0).pr, Tensor)

assert_type(pc.physio_features(ecg, 500), Array)
assert_type(pc.physio_features(tensor, 500, on_tensor, lead=["II", "V5"], segment=5.0, qtc="bazett"), Tensor)
assert_type(pc.physio_features(ecg, 500, peaks.index, lead="mean", return_paced=True), tuple[Array, Array])
assert_type(pc.physio_features(tensor, 500, return_paced=True), tuple[Tensor, Tensor])
assert_type(pc.FEATURE_NAMES, tuple[str, ...])
assert_type(pc.feature_table(), tuple[pc.FeatureInfo, ...])
assert_type(pc.feature_table()[0].unit, str)

assert_type(pc.hrv(peaks, 500), pc.HRV[Array])
assert_type(pc.hrv(peaks.index, 500.0, exclude_ectopic=True).rmssd, Array)
assert_type(pc.hrv(on_tensor, 500).lf_hf, Tensor)
assert_type(pc.hrv(on_tensor.index, 500).ectopic, Tensor)

# ---- the space of features, similarity, neighbours
features = pc.physio_features(ecg, 500)
pc.feature_frame(features, records=["a"] * 8).attrs["units"]


class Frame:
    """What a data frame is to a type checker."""

    columns: list[str]


frame = Frame()
space = pc.FeatureSpace.fit(features, 20, weights="released")
assert_type(space, pc.FeatureSpace)
assert_type(pc.FeatureSpace.fit(frame), pc.FeatureSpace)
assert_type(space.transform(features), Array)
assert_type(space.transform(torch.zeros(8, 159)), Tensor)
assert_type(space.transform(frame), Array)
assert_type(space.columns, tuple[str, ...])
assert_type(space.n_components, int)
assert_type(space.sigma, float)
assert_type(space.weights, npt.NDArray[np.float32])
assert_type(space.explained_variance, npt.NDArray[np.float32])
space.save("space.npz")
assert_type(pc.FeatureSpace(n_components=20).fit(features), pc.FeatureSpace)
assert_type(pc.FeatureSpace().fit_transform(frame), np.ndarray[Any, np.dtype[Any]])
assert_type(space.set_output(transform="pandas").get_params(), dict[str, object])
assert_type(pc.FeatureSpace.load(Path("space.npz")), pc.FeatureSpace)
assert_type(pc.physio_similarity(features, threshold=0.5, packed=True), Array)
assert_type(pc.physio_similarity(tensor, features, kernel="rbf", sigma=1.0), Tensor)
assert_type(pc.physio_neighbors(features, k=5, group=[0, 0, 1, 1, 2, 2, 3, 3]), pc.Neighbors[Array])
assert_type(pc.physio_neighbors(tensor, tensor, k=5).index, Tensor)
assert_type(pc.physio_neighbors(tensor, tensor, k=5).similarity, Tensor)

# ---- augmentation
plan = pc.Augment(
    beat_shuffle=pc.BeatShuffle(cut="tp"), time_warp=pc.TimeWarp(speed=(0.0, 0.02)), rr_scale=pc.RrScale(p=0.1),
    crop=pc.Crop(), time_mask=pc.TimeMask(away_from_qrs=0.06), lead_dropout=True, vcg_rotation=pc.VcgRotation(),
    amplitude_scale=pc.AmplitudeScale(), baseline_wander=pc.BaselineWander(), powerline=pc.Powerline(frequency=50),
    muscle_noise=pc.MuscleNoise(), gaussian_noise=pc.GaussianNoise(sd=(0.005, 0.02)),
)  # fmt: skip
assert_type(plan.lead_dropout, pc.LeadDropout | None)
assert_type(plan.needs_rpeaks, bool)
assert_type(pc.Augment.standard(), pc.Augment)
assert_type(pc.Augment.preserving(), pc.Augment)
assert_type(pc.view_seed(0, 1, 2), int)
assert_type(pc.augment(ecg, plan, fs=500, seed=1), tuple[Array, None])
assert_type(pc.augment(ecg, plan, fs=500, seed=1, rpeaks=peaks), tuple[Array, pc.RPeaks[Array]])
assert_type(
    pc.augment(tensor, plan, fs=500, seed=[1, 2], rpeaks=on_tensor, sample_id=range(8), dtype=torch.bfloat16),
    tuple[Tensor, pc.RPeaks[Tensor]],
)


def perhaps(rpeaks: pc.RPeaks[Tensor] | None) -> None:
    assert_type(pc.augment(tensor, plan, fs=500, seed=1, rpeaks=rpeaks), tuple[Tensor, pc.RPeaks[Tensor] | None])


assert_type(pc.augment(ecg, plan, fs=500, seed=1, out=ecg, dtype=np.float16, scale=0.001)[0], Array)
assert_type(pc.shuffle_beats(ecg, peaks, seed=1, cut="tp"), tuple[Array, pc.RPeaks[Array]])
assert_type(pc.shuffle_beats(tensor, on_tensor.index, seed=1), tuple[Tensor, pc.RPeaks[Tensor]])

# ---- losses
a, b, f = torch.zeros(8, 64), torch.zeros(8, 64), torch.zeros(8, 50)
assert_type(pc.hybrid_contrastive_loss(a, b[None], f, tau=a.sum(), mode="soft"), Tensor)
assert_type(pc.hybrid_contrastive_loss(a, None, f, return_stats=True), tuple[Tensor, pc.ContrastiveStats])
assert_type(pc.hybrid_contrastive_loss(a, None, f, return_stats=True)[1].positives, Tensor)
assert_type(pc.hybrid_contrastive_loss(a, None, f, return_stats=True)[1].uniformity, Tensor)
assert_type(pc.supcon(a, np.zeros(8, np.int64), return_stats=True)[1], pc.ContrastiveStats)
assert_type(pc.info_nce(a, b, [0, 1, 2, 3, 4, 5, 6, 7], negatives=b, symmetric=False), Tensor)
assert_type(pc.info_nce(a, b, return_stats=True), tuple[Tensor, pc.PairStats])
assert_type(pc.info_nce(a, b, return_stats=True)[1].skipped, Tensor)
assert_type(pc.info_nce(a, b, return_stats=True)[1].alignment, Tensor)
assert_type(pc.nt_xent(a, b, tau=0.2, beta=0.5), Tensor)
assert_type(pc.nt_xent(a, b, return_stats=True), tuple[Tensor, pc.PairStats])
assert_type(pc.supcon(a, torch.zeros(8, dtype=torch.int64), threshold=0.5), Tensor)
assert_type(pc.supcon(a, np.zeros(8, np.int64), return_stats=True), tuple[Tensor, pc.PairStats])
assert_type(pc.y_aware_info_nce(a, b, f, sigma=1.0), Tensor)
assert_type(pc.y_aware_info_nce(a, b, f, return_stats=True), tuple[Tensor, pc.PairStats])
assert_type(pc.soft_contrast(a, b, f, tau_s=0.2), Tensor)
assert_type(pc.soft_contrast(a, b, f, return_stats=True), tuple[Tensor, pc.PairStats])
assert_type(pc.peak_reconstruction_loss(tensor, tensor, on_tensor, 500), Tensor)
assert_type(pc.peak_reconstruction_loss(ecg, ecg, peaks, 500, window=0.05), float)

# ---- torch modules
encoder = pc.nn.ResNet1d(channels=(32, 64))
assert_type(encoder(tensor), pc.nn.Encoded)
assert_type(encoder(tensor).pooled, Tensor)
assert_type(pc.nn.ECGTransformer(layers=2)(tensor, torch.ones(8, 5000, dtype=torch.bool)).tokens, Tensor)
assert_type(pc.nn.as_encoder(nn.Flatten()), nn.Module)
assert_type(pc.nn.Decoder(64)(torch.zeros(8, 10, 64), 320), pc.nn.Decoded)
assert_type(pc.nn.Decoder(64)(torch.zeros(8, 10, 64), 320).made, Tensor)
model = pc.nn.PhysioCLR(encoder, pc.nn.HybridLoss(alpha=0.2), projection=64)
terms = model(tensor, f, shuffled=tensor, rpeaks=on_tensor)
assert_type(terms, pc.nn.HybridTerms)
assert_type(terms.total, Tensor)
assert_type(terms.stats, pc.ContrastiveStats)
assert_type(model.encode(tensor), Tensor)
assert_type(model.loss(a, b[None], f), pc.nn.HybridTerms)
assert_type(pc.nn.Augmentation(plan, 500.0, views=2)(tensor), tuple[Tensor, pc.RPeaks[Tensor] | None])
assert_type(pc.nn.chunked_backward(encoder, lambda tokens, pooled: pooled.sum(), tensor, chunk_size=2), Tensor)
assert_type(pc.nn.info_nce(a, b, tau=0.1), Tensor)
assert_type(pc.nn.nt_xent(a, b), Tensor)
assert_type(pc.nn.alignment_uniformity(a, b), tuple[float, float])

# ---- records and stores
assert_type(pc.data.read_header("a.hea"), pc.data.Header)
record = pc.data.read_record("a")
assert_type(record, pc.data.Record)
assert_type(record.millivolts(standard=True), np.ndarray)
assert_type(list(pc.data.find_records("ptb-xl")), list[str])
assert_type(pc.data.prepare("ptb-xl", "stores/ptbxl", jobs=4), pc.data.Report)
assert_type(pc.data.write_store("stores/own", [(ecg[0], 500.0, None)]), pc.data.Report)
assert_type(pc.data.verify("stores/ptbxl"), list[str])
store = pc.data.open_store("stores/ptbxl")
assert_type(store, pc.data.Store)
assert_type(store.fs, float)
assert_type(store.leads, tuple[str, ...])
assert_type(store.read(0), np.ndarray)
assert_type(store.labels["cinc2021"], tuple[tuple[str, ...], np.ndarray])
assert_type(store.table["age"], np.ndarray)
assert_type(pc.data.sample(), pc.data.Sample)
assert_type(pc.data.sample_store("stores/sample"), pc.data.Store)
assert_type(pc.data.zeros_as_missing(ecg, 500), np.ndarray)
assert_type(pc.data.CLASSES, Mapping[str, tuple[str, ...]])

# ---- training, pictures, the installation


class Own(pc.train.Method):
    def loss(self, out: Outputs, batch: Batch) -> Tensor:
        first, second = out.embeddings
        return pc.nt_xent(first, second, batch.group)


result = pc.train.pretrain(store, "runs/own", pc.train.Config(epochs=1), method=Own, encoder=nn.Flatten())
assert_type(result, pc.train.Result)
run = pc.train.open_run("runs/own")
assert_type(run, pc.train.Run)
assert_type(run.feature_space(), pc.FeatureSpace)
assert_type(pc.train.embed(run, store), np.ndarray)
assert_type(pc.train.probe(run, store), pc.train.ProbeResult)
assert_type(pc.load_pretrained(), pc.train.Pretrained)
assert_type(pc.train.load_pretrained("runs/own").encoder, nn.Module)
alike = pc.train.similar(run, store, 0, k=3)
assert_type(alike, dict[str, list[pc.train.Neighbour]])
assert_type(pc.train.draw_similar("alike.png", store, 0, alike), Path)
assert_type(pc.plots.plot_ecg("ecg.svg", ecg[0], 500, rpeaks=peaks.index[0]), Path)
assert_type(pc.info(), dict[str, str | int])
pc.set_num_threads(2)
pc.set_result_pool(2**30)
assert_type(pc.__version__, str)
