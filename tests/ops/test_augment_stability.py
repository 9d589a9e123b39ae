"""What augment draws must not change from release to release, nor with the process that runs it."""

import hashlib

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr.ops.augment.plan import FIELDS

HASHES = {
    "beat_shuffle": "5d79aa5957ec86b6",
    "time_warp": "702d76d8a72c53ee",
    "rr_scale": "47588895026a99a5",
    "crop": "4049876e1f65cfd6",
    "time_mask": "93a2bbda38a538d9",
    "lead_dropout": "da903ae6cd569099",
    "vcg_rotation": "2aa62c7398c9ceb0",
    "amplitude_scale": "ccfea7ee3a7182b6",
    "baseline_wander": "c6e6028fcc75c97d",
    "powerline": "07b4b860cc9f54f1",
    "muscle_noise": "d7882aa84b871117",
    "gaussian_noise": "5f8ca4734f3bf658",
    "preserving": "5bcd55141657c458",
    "shuffle_tp": "16da5b99c769f5ed",
}


def signal():
    """(4, 12, 1500) float32 of fixed bits, some missing, and R peaks."""
    i = np.arange(4 * 12 * 1500, dtype=np.uint64)
    ecg = ((i * 2654435761 >> 7) % 4096).astype(np.float32).reshape(4, 12, 1500) / 1024 - 2
    ecg[1, 3, 700:720] = np.nan
    return ecg, np.tile(np.array([90, 430, 800, 1111, 1420, -1], np.int32), (4, 1))


@pytest.mark.parametrize("name", [*FIELDS, "preserving", "shuffle_tp"])
def test_results_are_what_they_were(name):
    if name == "preserving":
        plan = pc.Augment.preserving()
    elif name == "shuffle_tp":
        plan = pc.Augment(beat_shuffle=pc.BeatShuffle(p=1, cut="tp"))
    else:
        plan = pc.Augment(**{name: FIELDS[name](p=1)})
    ecg, r = signal()
    out, peaks = pc.augment(ecg, plan, fs=500, seed=12345, sample_id=[1, 2, 3, 2**33], rpeaks=r)
    out = np.where(np.isnan(out), np.float32(np.nan), out) + np.float32(0)  # one NaN, one zero
    digest = hashlib.sha256(out.tobytes() + peaks.index.tobytes()).hexdigest()[:16]
    assert digest == HASHES[name]


class Records(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        ecg, r = signal()
        return pc.augment(ecg[:1], pc.Augment.standard(), fs=500, seed=1, sample_id=[i], rpeaks=r[:1])[0][0]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12 and newer
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_dataloader_workers(method):
    direct = np.stack([Records()[i] for i in range(6)])  # OpenMP has run in this process before it forks
    loader = torch.utils.data.DataLoader(Records(), batch_size=3, num_workers=2, multiprocessing_context=method)
    np.testing.assert_array_equal(torch.cat(list(loader)).numpy(), direct)
