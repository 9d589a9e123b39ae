"""Write the inputs that fuzzing begins with: small headers of every form, and each file of the tiny store.

python tests/fuzz/make_corpus.py
"""

import sys
import tempfile
from pathlib import Path

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


def main() -> None:
    for folder in ("header", "store"):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    for name, text in HEADERS.items():
        (HERE / "header" / name).write_text(text)
    with tempfile.TemporaryDirectory() as folder:
        dest = tiny_store(Path(folder) / "store")
        names = sorted(str(p.relative_to(dest)) for p in dest.rglob("*") if p.is_file())
        for i, name in enumerate(names):
            content = (dest / name).read_bytes()
            if len(content) < 6000:
                (HERE / "store" / name.replace("/", "-")).write_bytes(bytes([i, 1]) + content)


if __name__ == "__main__":
    main()
