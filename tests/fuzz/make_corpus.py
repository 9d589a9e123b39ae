"""Write the inputs that fuzzing begins with: small headers of every form, each file of the tiny store, and a sound file
of each kind of fuzz_files.py.

python tests/fuzz/make_corpus.py
"""

import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy.io

import physioclr as pc
from physioclr.train import Config
from physioclr.train.beats import BeatSpace
from physioclr.train.files import json_text
from physioclr.train.kernel_space import KernelSpace
from physioclr.train.metrics import COLUMNS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from tiny_store import tiny_store

HERE = Path(__file__).resolve().parent / "corpus"
HEADERS = {
    "one": "r 1 500 1000\nr.dat 16 1000 16 0 0 0 0 I\n",
    "two": "r 2 360 600\nr.dat 212 200(1024)/mV 12 1024 0 0 0 II\nr.dat 212 200 12 1024 0 0 0 V1\n#Age: 61\n#Dx: 4\n",
    "frames": "r 1 250/500(10) 300 12:30:01 1/2/2001\nr.dat 16x3:1+24 1000.5/uV 16 0 -5 7 0 aVR\n",
    "f80": "r 2 128 500\nr.dat 80 100 8 0 0 0 0 I\nr.dat 80 100 8 0 0 0 0 II\n",
    "mat": "r 1 500 100\nr.mat 16+24 1000/mV 16 0 0 0 0 V6\n",
    "segments": "r/2 1 100 200\n~ 100\nr 100\n",
}


def files() -> dict[str, bytes]:
    """name -> kind, and a sound file of it."""
    rng = np.random.default_rng(1)
    wave = rng.integers(0, 256, 64).astype(np.uint8).tobytes()
    made = {f"samples-{k}": bytes([0, k, 7]) + wave for k in range(10)}
    made["mat-4"] = bytes([1, 7]) + np.array([30, 2, 8, 0, 4], "<i4").tobytes() + b"val\0" + wave[:32]
    for compressed in (False, True):
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"x": np.arange(3), "val": np.arange(16).reshape(2, 8)}, do_compression=compressed)
        made[f"mat-5{'-compressed' * compressed}"] = bytes([1, 7]) + buffer.getvalue()
    for kind, x in ((2, rng.normal(size=(2, 9)).astype("f4")), (3, np.arange(3)), (3, np.array(["a", "bc"]))):
        buffer = io.BytesIO()
        np.save(buffer, x)
        made[f"npy-{kind}-{x.dtype.kind}"] = bytes([kind]) + buffer.getvalue()
    made["table-comma"] = b"\4\0record_id,age,sex,dx:one,dx:two,labels\na,40,F,1,0,x|y\nb/c,,M,0,1,\n"
    made["table-tab"] = b"\4\1filename\tpatient_id\tcodes\na\tp\t\"['x', 'y']\"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        pc.FeatureSpace.fit(rng.normal(size=(30, 159)), 2).save(path)
        made["space"] = b"\5" + path.read_bytes()
        BeatSpace(*(rng.normal(size=s).astype("f4") for s in ((1, 4), (1, 4), (4, 2), (2,)))).save(path)
        made["beats"] = b"\6" + path.read_bytes()
        KernelSpace(*(rng.normal(size=s).astype("f4") for s in ((3, 2), (3, 4), (4,)))).save(path)
        made["kernel"] = b"\x0c" + path.read_bytes()
    made["config"] = b"\7" + Config().to_yaml().encode()
    info = {"leads": ["I"], "fs": 500.0, "samples": 5, "input_sd": 1.0, "records": 1, "records_crc32": 5, "store": "",
            "highpass": 0.5}  # fmt: skip
    made["info"] = b"\x08" + json_text(info).encode()
    made["metrics"] = b"\x09" + (",".join(COLUMNS) + "\n" + ",".join("1" for _ in COLUMNS) + "\n").encode()
    made["state"] = b"\x0a" + json.dumps({"step": 2, "seconds": 1.0}).encode()
    made["records"] = b"\x0br0\nr1\n"
    return made


def main() -> None:
    for folder in ("header", "store", "files"):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    for name, text in HEADERS.items():
        (HERE / "header" / name).write_text(text)
    for name, content in files().items():
        (HERE / "files" / name).write_bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        dest = tiny_store(Path(folder) / "store")
        names = sorted(str(p.relative_to(dest)) for p in dest.rglob("*") if p.is_file())
        for i, name in enumerate(names):
            content = (dest / name).read_bytes()
            if len(content) < 6000:
                (HERE / "store" / name.replace("/", "-")).write_bytes(bytes([i, 1]) + content)


if __name__ == "__main__":
    main()
