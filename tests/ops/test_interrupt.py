"""Ctrl-C during a long op: it ends soon, nothing is returned, and the process goes on as before."""

import subprocess
import sys
import textwrap

import pytest

SETUP = """
import os, signal, sys, threading, time
import numpy as np, physioclr as pc
rng = np.random.default_rng(0)
def rows(n, d): return rng.normal(size=(n, d)).astype(np.float32)
def interrupted(f, small):
    want = small()
    began = time.monotonic()
    f()
    whole = time.monotonic() - began  # processors differ tenfold: the key is pressed by this one's pace
    for share in (4, 8, 16, 32, 64):
        late, ended = [], False
        def press():
            time.sleep(whole / share)
            late.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        key = threading.Thread(target=press)
        try:
            key.start()
            f()
            ended = True  # before the key: once more, pressed earlier
            key.join()
        except KeyboardInterrupt:
            took = time.monotonic() - late[0]
            if key.is_alive():
                key.join()
            if not ended and took < whole / 2 and took < 5.0:
                break
    else:
        sys.exit(f"never ended early: the whole takes {whole:.2f} s, the last try ended {took:.2f} s after the key")
    print(f"{took:.2f}")
    got = small()
    for a, b in zip(want, got):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
"""
CASES = {
    "similarity": """
        x = rows(40_000, 64)
        interrupted(lambda: pc.physio_similarity(x, threshold=0.5, packed=True),
                          lambda: [pc.physio_similarity(x[:90])])""",
    "neighbors": """
        x = rows(30_000, 50)
        interrupted(lambda: pc.physio_neighbors(x, k=5), lambda: pc.physio_neighbors(x[:99], k=5))""",
    "hrv": """
        r = np.arange(200, 10_000_000, 400)[None]
        interrupted(lambda: pc.hrv(r, 500.0), lambda: pc.hrv(r[:, :300], 500.0)[:8])""",
    "hrv of a few records": """
        r = np.tile(np.arange(200, 2_000_000, 400), (8, 1))
        interrupted(lambda: pc.hrv(r, 500.0), lambda: pc.hrv(r[:, :300], 500.0)[:8])""",
    "contrastive": """
        import torch
        a, f = torch.from_numpy(rows(20_000, 128)), torch.from_numpy(rows(20_000, 50))
        loss = lambda n: pc.hybrid_contrastive_loss(a[:n], a[None, :n], f[:n])
        interrupted(lambda: loss(20_000), lambda: [loss(64)])""",
    "augment": """
        x = rows(256 * 12, 5000).reshape(256, 12, 5000)
        plan = pc.Augment.standard()
        peaks = np.tile([500, 1000, 1500], (256, 1))
        run = lambda n: pc.augment(x[:n], plan, fs=500.0, seed=list(range(8)), rpeaks=peaks[:n])
        interrupted(lambda: run(256), lambda: [run(2)[0]])""",
    "detect_rpeaks": """
        x = np.tile(rows(24, 10**6), (20, 1)).reshape(40, 12, 10**6)
        interrupted(lambda: pc.detect_rpeaks(x, 500.0), lambda: pc.detect_rpeaks(x[:1, :2, :5000], 500.0))""",
    "delineate": """
        x = np.tile(rows(400, 5000), (50, 1))
        r = np.tile(np.arange(100, 4900, 200), (len(x), 1))
        run = lambda n: pc.delineate(x[:n], 500.0, r[:n])
        interrupted(lambda: run(20_000), lambda: run(3))""",
    "delineate one record": """
        x = np.tile(rows(12, 500_000), (1, 10))[None]
        r = np.arange(100, 4_999_000, 200)[None]
        run = lambda n: pc.delineate(x[..., :n], 500.0, r[:, : n // 200], lead="all")
        interrupted(lambda: run(5_000_000), lambda: run(9000))""",
    "physio_features": """
        x = np.tile(rows(400, 5000), (50, 1))
        r = np.tile(np.arange(100, 4900, 200), (len(x), 1))
        run = lambda n: pc.physio_features(x[:n], 500.0, r[:n])
        interrupted(lambda: run(20_000), lambda: [run(3)])""",
    "decimate": """
        from physioclr.data.resample import every
        x = np.tile(rows(12, 500_000), (1, 20))
        interrupted(lambda: every(x, 8), lambda: [every(x[:, :999], 8)])""",
    "zero_phase": """
        from physioclr.train.dataset import network_signal
        x = np.tile(rows(12, 500_000), (1, 10))
        interrupted(lambda: network_signal(x, 500.0, 0.5), lambda: [network_signal(x[:, :999], 500.0, 0.5)])""",
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("op", CASES)
def test_ctrl_c_ends_an_op(op):
    code = SETUP + "\npc.set_num_threads(2)\n" + textwrap.dedent(CASES[op])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    took = [float(word) for word in done.stdout.split()]
    assert len(took) == 1 and took[0] < 5.0, took  # half a second where nothing else runs
