"""The kernel principal components of physiology, and an encoder that is trained to predict them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_store import FakeStore, one_thread

from physioclr.train import Config, checkpoint, embed, pretrain
from physioclr.train.kernel_space import COMPONENTS, SIGMA, KernelSpace
from physioclr.train.run import BEATS, KERNEL

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=6, checkpoint_every=3, seed=3,
               feature_components=10, mode="supcon", shuffle=False, alpha=0.0, beta=0.0, gamma=10.0,
               target="kernel")  # fmt: skip

single = pytest.fixture(autouse=True, scope="module")(one_thread)


def weights(run):
    return load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS)


def by_definition(rows, components):
    """Kernel PCA of all rows, and the weights of the components, in float64."""
    k = np.exp(-((rows[:, None] - rows) ** 2).sum(2) / (2 * SIGMA**2))
    center = np.eye(len(rows)) - 1 / len(rows)
    values, vectors = np.linalg.eigh(center @ k @ center)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    scores = vectors * np.sqrt(values)
    scores = scores / np.sqrt(scores.std(0))
    return scores / np.sqrt((scores**2).mean())


def test_components_are_those_of_the_kernel(rng):
    rows = rng.normal(size=(50, 4))
    found = KernelSpace.fit(torch.from_numpy(rows), 6, landmarks=50).transform(torch.from_numpy(rows)).numpy()
    expected = by_definition(rows, 6)
    expected *= np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert (found.astype(np.float64) ** 2).mean() == pytest.approx(1, rel=1e-4)


def test_landmarks_stand_for_all_rows(rng):
    rows = torch.from_numpy(rng.normal(size=(400, 3)))
    whole, some = (KernelSpace.fit(rows, 5, landmarks=n) for n in (400, 100))
    assert some.landmarks.shape == (100, 3)
    a, b = whole.transform(rows), some.transform(rows)
    agree = (a * b).sum(0).abs() / (a.norm(dim=0) * b.norm(dim=0))
    assert (agree > 0.99).all()


def test_a_combination_is_a_component_and_no_linear_map_has_it(rng):
    """Two groups that differ in the sign of a product alone."""
    signs = rng.choice([-1.0, 1.0], (300, 2))
    rows = torch.from_numpy(signs + 0.1 * rng.normal(size=(300, 2)))
    product = torch.from_numpy(signs.prod(1))

    def explained(x):
        x = torch.cat((x.double(), torch.ones(300, 1, dtype=torch.float64)), 1)
        return 1 - float((x @ torch.linalg.lstsq(x, product[:, None]).solution)[:, 0].sub(product).square().mean())

    assert explained(rows) < 0.1 and explained(KernelSpace.fit(rows, 4).transform(rows)) > 0.9


@pytest.mark.parametrize("rows", [torch.ones(1, 3), torch.ones(40, 3), torch.eye(3)])
def test_few_rows_and_equal_ones(rows):
    space = KernelSpace.fit(rows)
    found = space.transform(rows)
    assert found.shape == (len(rows), COMPONENTS) and found.isfinite().all()
    assert float(found.square().mean()) == pytest.approx(1 if len(rows) == 3 else 0, rel=1e-4)


def test_the_file_gives_the_same_bits_and_a_damaged_one_is_named(rng, tmp_path):
    rows = torch.from_numpy(rng.normal(size=(30, 4)))
    space = KernelSpace.fit(rows, 5)
    space.save(tmp_path / KERNEL)
    assert torch.equal(KernelSpace.load(tmp_path / KERNEL).transform(rows), space.transform(rows))
    (tmp_path / "x.npz").write_bytes((tmp_path / KERNEL).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"x\.npz' is not the kernel space of a run"):
        KernelSpace.load(tmp_path / "x.npz")
    KernelSpace(np.ones((3, 2)), np.ones((4, 5)), np.ones(5)).save(tmp_path / "y.npz")
    with pytest.raises(ValueError, match=r"its arrays have the shapes \(3, 2\), \(4, 5\), \(5,\)"):
        KernelSpace.load(tmp_path / "y.npz")
    with pytest.raises(FileNotFoundError):
        KernelSpace.load(tmp_path / "none.npz")


def test_training_predicts_them_and_a_resumed_run_has_the_same_bits(tmp_path):
    store, rows = FakeStore(40), []
    config = SMALL.replace(steps=60, lr=1e-2, augment="none", channels=[16, 16], batch_size=32, checkpoint_every=30)
    pretrain(store, tmp_path / "whole", config, progress=rows.append)
    assert (tmp_path / "whole" / KERNEL).is_file() and (tmp_path / "whole" / BEATS).is_file()
    assert rows[0]["prediction"] == pytest.approx(1, abs=0.2)  # of the mean
    error = [row["prediction"] for row in rows]
    assert np.mean(error[-10:]) < 0.95 * np.mean(error[:3])  # most of them are noise in these records
    pretrain(store, tmp_path / "parts", config, stop_after=30)
    pretrain(store, tmp_path / "parts", config, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole["predictor.weight"].shape == (COMPONENTS, 16)
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)
    assert embed(tmp_path / "whole", store).shape == (40, 16)


def test_a_run_that_predicts_nothing_has_no_kernel_space(tmp_path):
    pretrain(FakeStore(12), tmp_path / "run", SMALL.replace(gamma=0.0, steps=1))
    assert not (tmp_path / "run" / KERNEL).exists() and not (tmp_path / "run" / BEATS).exists()
