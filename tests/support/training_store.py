"""A store in memory for the training tests: synthetic beats, so that nothing but the interface of a store is needed."""

import numpy as np
import torch

from physioclr.train import Config

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
FS = 500.0
SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=20, checkpoint_every=5, seed=3,
               feature_components=10)  # fmt: skip


def one_thread():
    """Body of a fixture: small layers on a shared machine lose more to waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class FakeStore:
    """At least 10 records of 10 s (record 1 has 16 s, record 2 only 4 s), two patients with two records each.

    Class "fast" has a high heart rate, class "tall" large R waves; class "rare" is record 0 alone.
    """

    path = "memory"
    fs, leads, segment, feature_leads = FS, LEADS, 5.0, ("II", "V1", "V5")

    def __init__(self, n=24, seed=0):
        rng = np.random.default_rng(seed)
        samples = np.full(n, 5000)
        samples[1:3] = 8000, 2000
        fast, tall = rng.random(n) < 0.5, rng.random(n) < 0.5
        self._ecg, self._rpeaks, self._features = [], [], []
        for i in range(n):
            rr = (0.55 if fast[i] else 0.95) * FS
            peaks = np.arange(0.4 * rr, samples[i] - 30, rr).astype(np.int32)
            time = np.arange(samples[i])
            beat = sum(
                np.exp(-0.5 * ((time - p) / 8) ** 2) - 0.2 * np.exp(-0.5 * ((time - p - 130) / 30) ** 2) for p in peaks
            )
            gain = rng.normal(1, 0.2, (12, 1)) * (2.0 if tall[i] else 0.8)
            ecg = gain * beat + rng.normal(0, 0.03, (12, samples[i])) + 0.3 * np.sin(time / 900)
            self._ecg.append(ecg.astype(np.float32))
            self._rpeaks.append(peaks)
            f = rng.normal(0, 0.3, (samples[i] // 2500, 477)).astype(np.float32)
            f[:, 0::3] += 2.0 * fast[i] - 1
            f[:, 1::3] += 2.0 * tall[i] - 1
            f[:, :477:11] = np.nan
            self._features.append(f)
        self._ecg[3][4, 700:900] = np.nan
        self._ecg[4][7] = np.nan
        patient = np.array([f"p{i}" for i in range(n)])
        patient[6], patient[8], patient[9] = "p5", "p7", ""
        self.table = {
            "record_id": np.array([f"r{i:03d}" for i in range(n)]),
            "source": np.full(n, "fake"),
            "patient_id": patient,
            "age": rng.uniform(20, 90, n).astype(np.float32),
            "sex": np.where(rng.random(n) < 0.5, "F", "M"),
            "fold": np.full(n, -1),
            "n_samples": samples.astype(np.int32),
        }
        y = np.stack((fast, tall, np.arange(n) == 0), axis=1).astype(np.uint8)
        self.labels = {"shape": (("fast", "tall", "rare"), y)}
        self.labelled = {"shape": np.ones(n, bool)}

    def __len__(self):
        return len(self._ecg)

    def read(self, i):
        return self._ecg[i].copy()

    def rpeaks(self, i):
        return self._rpeaks[i].copy()

    def features(self, i):
        return self._features[i].copy()
