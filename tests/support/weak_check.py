"""Looks for functions that a file of wider instructions could impose on a processor without them.

    python tests/support/weak_check.py BUILD     # a CMake build folder of the library, or of its parts
    python tests/support/weak_check.py a.o ...

Of a function that several objects define as weak (inline functions, templates) the linker keeps any one. A hot file
(csrc/cpu/isa.h) is compiled for AVX-512 too, so it may define none but those whose name holds the namespace of its set,
which no other object has. Fails on every other weak or global function of the objects of `*_avx2` and `*_avx512`
and of contrastive_bf16.cpp.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Symbol(NamedTuple):
    file: str
    kind: str  # of nm: W a weak function, T a global one, i an ifunc; V, u, D, R, B data
    name: str  # mangled


def parse(text: str, file: str) -> list[Symbol]:
    """The defined global symbols of `nm --defined-only --extern-only`."""
    rows = (line.split() for line in text.splitlines())
    return [Symbol(file, row[-2], row[-1]) for row in rows if len(row) >= 2]


# Clang's end of a noexcept function, made alike everywhere; a thread's variable, which is no function though nm says W
# of it in Clang's objects.
SHARED = ("__clang_call_terminate", "_ZN9physioclr14interrupt_pollE")


def is_of_set(name: str) -> bool:
    """Whether a mangled name has a part of its own that is a set, 4avx2, 6avx512, or is a product of bfloat16."""
    return bool(re.search(r"(?<!\d)(4avx2|6avx512)|3cpu\d+bf16_", name))


def problems(symbols: list[Symbol]) -> list[str]:
    """Functions: weak, global, chosen by an ifunc. Data, which has no instructions, may be shared (V, u)."""
    wrong = [s for s in symbols if s.kind in "WTi" and s.name not in SHARED and not is_of_set(s.name)]
    return [f"{s.file}: {s.kind} {s.name}" for s in wrong]


def objects(build: Path) -> list[Path]:
    return sorted(p for p in build.rglob("*.o") if re.search(r"_avx(2|512)\.dir/|/contrastive_bf16\.cpp", p.as_posix()))


def symbols_of(files: list[Path]) -> list[Symbol]:
    nm = shutil.which("nm") or shutil.which("llvm-nm")
    if nm is None:
        raise FileNotFoundError("neither nm nor llvm-nm is installed")
    found = []
    for file in files:
        command = [nm, "--defined-only", "--extern-only", str(file)]
        found += parse(subprocess.run(command, check=True, text=True, capture_output=True).stdout, file.name)
    return found


def main(arguments: list[str]) -> int:
    files = [f for a in arguments for f in (objects(Path(a)) if Path(a).is_dir() else [Path(a)])]
    if not files:
        print("no object of a hot file found", file=sys.stderr)
        return 2
    symbols = symbols_of(files)
    lines = problems(symbols)
    print("\n".join(lines) or f"{len(files)} objects, {len(symbols)} global symbols: all of their own set")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
