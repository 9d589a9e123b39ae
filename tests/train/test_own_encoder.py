"""An encoder of the user's own: any module from (N, 12, T) to (N, D) or to tokens (N, S, D)."""

from pathlib import Path

import numpy as np
import own_encoders
import pytest
import torch
from safetensors.torch import load_file
from training_store import FakeStore, one_thread

from physioclr import nn
from physioclr.nn.encoder import mean_pool
from physioclr.train import Config, checkpoint, embed, open_run, pretrain, probe

SMALL = Config(projection=8, batch_size=8, warmup=2, steps=4, checkpoint_every=2, seed=3,
               feature_components=10)  # fmt: skip

single = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


def weights(run):
    return load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS)


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("factory", ["own_encoders:tokens", "own_encoders:Pooled"])
def test_by_name(store, tmp_path, factory):
    config = SMALL.replace(encoder=factory)
    assert pretrain(store, tmp_path / "whole", config).status == "finished"
    pretrain(store, tmp_path / "parts", SMALL, encoder=factory, stop_after=1)
    pretrain(store, tmp_path / "parts", config, resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert any(k.startswith("decoder.") for k in weights(tmp_path / "whole"))
    run = open_run(tmp_path / "whole")
    values = embed(run, store)
    assert values.shape == (12, own_encoders.WIDTH) and np.isfinite(values).all() and values.std(0).min() > 0
    labelled = FakeStore(30)
    settings = {"fractions": (1.0,), "folds": 3, "bootstrap": 10, "picture": False}
    assert np.isfinite(probe(run, labelled, out=tmp_path / "t", **settings).macro(1.0)["auroc"])
    assert probe(run, labelled, out=tmp_path / "t", finetune=True, epochs=1, seeds=1, **settings).rows


def test_a_module_is_copied_trained_and_wanted_again(store, tmp_path):
    torch.manual_seed(7)
    module = own_encoders.Tokens()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    run = pretrain(store, tmp_path / "run", SMALL, encoder=module, stop_after=2).path
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    for call in (lambda: open_run(run), lambda: embed(run, store), lambda: probe(run, store)):
        with pytest.raises(ValueError, match=r"encoder is 'given', .*pass it again: .*open_run\(run, encoder=module\)"):
            call()
    with pytest.raises(ValueError, match=r"pass it again: pretrain\(..., encoder=module\)"):
        pretrain(store, run, SMALL, resume=True)
    with pytest.raises(ValueError, match="another encoder_module: it is 'Pooled' and was 'Tokens'"):
        pretrain(store, run, SMALL, resume=True, encoder=own_encoders.Pooled())
    pretrain(store, run, SMALL, resume=True, encoder=own_encoders.Tokens())  # its weights are those of the checkpoint
    pretrain(store, tmp_path / "whole", SMALL, encoder=module)
    assert same_weights(run, tmp_path / "whole")
    opened = open_run(run, encoder=own_encoders.Tokens())
    assert torch.equal(opened.encoder.module.conv.weight, weights(run)["encoder.module.conv.weight"])
    assert not torch.equal(opened.encoder.module.conv.weight, before["conv.weight"])
    assert embed(opened, store).shape == (12, own_encoders.WIDTH)


def test_an_encoder_like_ours_is_used_as_it_is():
    ours = nn.ResNet1d(12, (8, 8))
    assert nn.as_encoder(ours) is ours


def test_what_the_model_sees():
    pooled, tokens = nn.as_encoder(own_encoders.Pooled()), nn.as_encoder(own_encoders.Tokens(), 12, 2500)
    assert (pooled.width, pooled.stride, pooled.leads) == (6, 2500, 12)
    assert (tokens.width, tokens.stride) == (6, 8)
    x, valid = torch.randn(3, 12, 2500), torch.ones(3, 2500, dtype=torch.bool)
    valid[1, 800:] = False
    out = pooled(x, valid)
    assert out.tokens.shape == (3, 1, 6) and torch.equal(out.tokens[:, 0], out.pooled)
    out = tokens(x, valid)
    assert out.tokens.shape == (3, 313, 6)
    torch.testing.assert_close(out.pooled[1], out.tokens[1, :101].mean(0))  # token 100 begins at sample 800 - 0.5 %
    torch.testing.assert_close(out.pooled[0], mean_pool(out.tokens, None)[0])


def test_trying_it_changes_nothing():
    module = torch.nn.Sequential(own_encoders.Tokens(), torch.nn.Dropout(0.5), torch.nn.LayerNorm(6))
    module[2].eval()  # frozen
    generator = torch.get_rng_state()
    nn.as_encoder(module)
    assert torch.equal(torch.get_rng_state(), generator) and module.training and not module[2].training


def test_errors_say_what_it_must_return(store, tmp_path):
    for number, (encoder, error, message) in enumerate((
        ("own_encoders:scalar", ValueError, r"encoder Scalar returns shape \(\), torch.float32 for x of shape "
         r"\(2, 12, 2500\); it must return embeddings \(N, D\) or tokens \(N, S, D\)"),
        ("own_encoders:wrong_leads", ValueError, r"encoder Conv1d fails on x of shape \(2, 12, 2500\): RuntimeError"),
        ("own_encoders:number", TypeError, "encoder is 3; it must be a torch.nn.Module"),
        ("own_encoders:needs_an_argument", ValueError, "which is called without arguments: .*width"),
        ("own_encoders:WIDTH", ValueError, "it must name a function or class that makes a torch.nn.Module"),
        ("own_encoders:absent", ValueError, "encoder is 'own_encoders:absent'; it cannot be imported .AttributeError"),
        ("vit", ValueError, "it must be one of 'resnet1d', 'transformer', 'given', or package.module:factory"),
        ("given", ValueError, "encoder is 'given', a module that is not kept"),
        (3, TypeError, "encoder is 3; it must be a torch.nn.Module, or a name"),
    )):  # fmt: skip
        with pytest.raises(error, match=message):
            pretrain(store, tmp_path / str(number), SMALL, encoder=encoder)
