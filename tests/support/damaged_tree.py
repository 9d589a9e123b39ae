"""A small store, a run trained on it and an embedding of it on disk; every way to damage one of their files; and every
command that reads them, judged by what it says and leaves behind.
"""

import contextlib
import io
import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from safetensors.numpy import load_file
from wfdb_files import ecg_like, write_record

import physioclr as pc
from physioclr import cli

SMALL = ["--set", "batch_size=4", "channels=[8,8]", "projection=8", "warmup=1", "checkpoint_every=2", "beat_weight=1",
         "feature_components=6"]  # fmt: skip
VALUES = "signals.npy"  # changed values of samples are found by `verify` alone: docs/reliability.md


def command(*words):
    """Exit status, stdout and stderr of a command, in this process. An exception that gets out is one of the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["physioclr", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def make(folder):
    """folder/src, store, run (stopped after 2 of 4 steps) and run/e.npy. Twelve records of 10 s, of four patients."""
    rng = np.random.default_rng(5)
    table = "record_id,patient_id,fold,age,sex,big:odd,big:half,codes\n"
    for k in range(12):
        x = ecg_like(rng, rate=60 + 4 * k)
        write_record(folder / "src", f"r{k:02d}", np.roll(x, 37 * k, axis=1))
        table += f"r{k:02d},p{k // 3},{k // 3},{40 + k},F,{k % 2},{int(k < 6)},{'a|b' if k % 2 else 'b'}\n"
    write_record(folder / "src", "short", ecg_like(rng, n_samples=600))
    (folder / "mine.csv").write_text(table)
    done = [prepare(folder)]
    settings = pc.train.Config().override([*SMALL[1:], "steps=4"])
    pc.train.pretrain(folder / "store", folder / "run", settings, stop_after=2)
    done.append(command("embed", folder / "run", folder / "store", "--out", folder / "e.npy"))
    for ending in ("csv", "parquet"):
        done.append(command("embed", folder / "run", folder / "store", "--out", folder / f"e.{ending}"))
    assert all(status == 0 for status, _, _ in done), done


def prepare(folder):
    return command("prepare", folder / "src", folder / "store", "--table", folder / "mine.csv")


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.endswith(".lock")
    }


def _weights(run):
    (newest,) = (p for p in (run / "checkpoints").iterdir() if p.name.endswith("4"))
    return {k: v.tobytes() for k, v in load_file(newest / "model.safetensors").items()}


def _prepare(folder):
    """What it leaves is what it says: a whole store, byte for byte."""
    return prepare(folder), lambda: contents(folder / "store")


def _verify(folder):
    status, out, err = command("verify", folder / "store")
    return (status, "", err if status == 0 else out + err), str


def _pretrain(folder):
    done = command("pretrain", folder / "store", "--out", folder / "new", *SMALL, "steps=2")
    return done, lambda: {k: v.tobytes() for k, v in load_file(next((folder / "new").rglob("*.safetensors"))).items()}


def _resume(folder):
    done = command("pretrain", folder / "store", "--out", folder / "run", "--resume")
    return done, lambda: _weights(folder / "run")


def _probe(*inputs):
    def run(folder):
        words = [*(folder / i if isinstance(i, str) and not i.startswith("--") else i for i in inputs),
                 folder / "store", "--scheme", "big", "--fractions", "1", "--min-positives", "1"]  # fmt: skip
        done = command("probe", *words, "--out", folder / "judged")
        return done, lambda: {k: v for k, v in contents(folder / "judged").items() if k.endswith(".csv")}

    return run


def _embed(folder):
    done = command("embed", folder / "run", folder / "store", "--out", folder / "new.npy")
    return done, lambda: (folder / "new.npy").read_bytes()


def _similar(folder):
    with mock.patch("physioclr.train.similar.draw_similar", lambda path, *a, **k: path):
        done = command("similar", folder / "run", folder / "store", "--record", "r03", "--out", folder / "s.png")
    return done, lambda: done[1].replace(str(folder), "")


COMMANDS = {
    "prepare": _prepare, "verify": _verify, "pretrain": _pretrain, "resume": _resume, "probe": _probe("run"),
    "embed": _embed, "similar": _similar, "probe of .npy": _probe("--embeddings", "e.npy"),
    "probe of .csv": _probe("--embeddings", "e.csv"), "probe of .parquet": _probe("--embeddings", "e.parquet"),
}  # fmt: skip
READ_BY = {
    "store": ("prepare", "verify", "pretrain", "resume", "probe", "embed", "similar"),
    "run": ("resume", "probe", "embed", "similar"),
    "e.npy": ("probe of .npy",), "e.csv": ("probe of .csv",), "e.parquet": ("probe of .parquet",),
    "mine.csv": ("prepare",),
}  # fmt: skip


def flip(raw, at):
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


OTHER_TYPE = {  # a sound file of another kind
    ".npy": b"record_id,age\nr0,4\n", ".npz": b"[]", ".json": b"[1]", ".jsonl": b"[1]\n", ".yaml": b"- 1\n",
    ".txt": b"\x93NUMPY\x01\x00", ".csv": b"\x93NUMPY\x01\x00\xff\x00,1\n", ".safetensors": b"{}", ".pt": b"{}",
    ".png": b"", ".parquet": b"{}",
}  # fmt: skip


def _folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "emptied": lambda p: p.write_bytes(b""),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "begun": lambda p: p.write_bytes(p.read_bytes()[:9]),
    "flipped first": lambda p: p.write_bytes(flip(p.read_bytes(), 0)),
    "flipped in the middle": lambda p: p.write_bytes(flip(p.read_bytes(), p.stat().st_size // 2)),
    "flipped last": lambda p: p.write_bytes(flip(p.read_bytes(), p.stat().st_size - 1)),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"7"),
    "zeros": lambda p: p.write_bytes(b"\0" * p.stat().st_size),
    "other type": lambda p: p.write_bytes(OTHER_TYPE[p.suffix]),
    "removed": lambda p: p.unlink(),
    "a folder": _folder,
}


def judge(name, file, damage, done, result, want, folder):
    """None, or what is wrong with a command's answer to a damaged file."""
    status, out, err = done
    said = err.strip()
    if "Traceback" in out + err:
        return f"a traceback: {err[-300:]}"
    if status == 0:
        if said and not said.startswith("warning"):
            return f"exit 0 and: {said}"
        if result() == want:
            return None
        if file.endswith(VALUES) and damage.startswith("flipped") and name != "prepare":
            return None
        if not file.startswith(("store", "run")):  # without a checksum a value that is another one is not to be told
            return None
        return "exit 0 and another result"
    if (file, damage) == ("store/store.json", "removed") and status == 2:
        return None if "unfinished store" in said else said
    if status == 2 and not file.startswith(("store", "run")):  # named in the call, whose fault it may be
        said = said.removesuffix("(--traceback shows where)").strip()
    elif status != 1:
        return f"exit {status}: {said}"
    if name == "verify":
        return None if Path(file).name in said else f"verify does not name {file}: {said}"
    if len(said.splitlines()) != 1:
        return f"not one line: {said!r}"
    if Path(file).name not in said:
        return f"the file is not named: {said}"
    return None


def try_one(sound, work, name, file, damage, want):
    """Damage `file` in a copy of `sound` at `work`, run the command, judge it."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(sound, work)
    DAMAGE[damage](work / file)
    if (work / file).is_file() and (work / file).read_bytes() == (sound / file).read_bytes():
        return None  # it was empty before
    done, result = COMMANDS[name](work)
    return judge(name, file, damage, done, result, want, work)


def wanted(sound, work, name):
    """The result of a command on the sound files."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(sound, work)
    done, result = COMMANDS[name](work)
    assert done[0] == 0 and not done[2].strip(), (name, done)
    return result()


def table(sound):
    """Every (command, file, damage)."""
    for top, commands in READ_BY.items():
        names = [top] if (sound / top).is_file() else [f"{top}/{n}" for n in contents(sound / top)]
        for file in names:
            for damage in DAMAGE:
                for name in commands:
                    yield name, file, damage
