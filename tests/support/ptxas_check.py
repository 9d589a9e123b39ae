"""Compiles the CUDA kernels for the device alone, reads what ptxas reports of each, fails on spills and stack frames.

    python tests/support/ptxas_check.py BUILD [--arch 75 90]     # BUILD: a CMake build folder with the CUDA backend
    python tests/support/ptxas_check.py --source kernel.cu       # one file, with nvcc's default flags

The flags of each file come from BUILD/compile_commands.json, so they are those of the library. A kernel that needs a
stack frame, and is cold enough for it, says so beside its definition, and the check holds it to that:

    // ptxas-allow NAME: N bytes of stack, because ...
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = re.compile(r"//\s*ptxas-allow\s+(\w+):\s*(\d+) bytes of stack, because \S")
DROPPED = re.compile(r"--generate-code=|-gencode|-arch|-c$|-MD$|-MP$|-g$|-G$")
WITH_VALUE = ("-o", "-MT", "-MF", "-MQ", "-x")


class Usage(NamedTuple):
    """What one kernel takes on one architecture. Bytes; registers of a thread."""

    kernel: str
    arch: str
    stack: int
    spilled: int
    registers: int
    shared: int


def parse(text: str) -> list[Usage]:
    """Every function in the output of `ptxas -v`, device functions that were not inlined included."""
    found: list[Usage] = []
    arch, name, entry = "", "", ""
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\S+)' for '(\w+)'", line):
            entry, arch = m.groups()
        elif m := re.search(r"Function properties for '?([^\s']+)", line):
            name = m[1]
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            found.append(Usage(name, arch, int(m[1]), int(m[2]) + int(m[3]), 0, 0))
        elif m := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            for i, usage in enumerate(found):
                if usage.kernel == entry and usage.arch == arch:
                    found[i] = usage._replace(registers=int(m[1]), shared=int(shared[1]) if shared else 0)
    return found


def short(mangled: str) -> str:
    """The name of a function without namespaces and arguments: of _ZN9physioclr4cuda6kernelEPf "kernel"."""
    rest, names = mangled.removeprefix("_Z").removeprefix("N"), []
    while m := re.match(r"(\d+)", rest):
        end = m.end() + int(m[1])
        names.append(rest[m.end() : end])
        rest = rest[end:]
    return names[-1] if names else mangled


def allowances(folder: Path) -> dict[str, int]:
    text = "\n".join(f.read_text() for f in sorted(folder.glob("*.cu*")))
    return {m[1]: int(m[2]) for m in ALLOWED.finditer(text)}


def problems(usages: list[Usage], allowed: dict[str, int]) -> list[str]:
    """A line for each kernel that takes more than it may, and for each allowance that nothing uses."""
    lines, used = [], set()
    if not usages:
        lines.append("ptxas reported no kernel at all")
    for u in usages:
        name = short(u.kernel)
        if u.stack or u.spilled:
            used.add(name)
        if u.spilled:
            lines.append(f"{name} ({u.arch}) spills {u.spilled} bytes of registers")
        if u.stack > allowed.get(name, 0):
            lines.append(f"{name} ({u.arch}) has a stack frame of {u.stack} bytes; {allowed.get(name, 0)} are allowed")
    lines += [f"{name} is allowed a stack frame that it does not have" for name in sorted(set(allowed) - used)]
    return lines


def compile_one(flags: list[str], source: str, arch: str, folder: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        command = [*flags, "-cubin", f"-arch=sm_{arch}", "-Xptxas=-v", "-o", out.name, "-x", "cu", source]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def commands(build: Path) -> list[tuple[list[str], str, str]]:
    """(flags, source, folder) of every .cu file of a build."""
    result = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if not entry["file"].endswith(".cu"):
            continue
        words, flags = iter(shlex.split(entry["command"])), []
        for word in words:
            if word in WITH_VALUE:
                next(words)
            elif not DROPPED.match(word) and word != entry["file"]:
                flags.append(word)
        result.append((flags, entry["file"], entry["directory"]))
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", type=Path, help="build folder (default: the newest below build/)")
    parser.add_argument("--source", type=Path, help="check this file alone")
    parser.add_argument("--arch", nargs="+", default=["75", "80", "90"])
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args(argv)
    if args.source:
        work = [(["nvcc"], str(args.source), ".")]
        allowed = allowances(args.source.parent) if args.source.suffix == ".cu" else {}
    else:
        builds = [args.build] if args.build else [f.parent for f in ROOT.glob("build/*/compile_commands.json")]
        builds.sort(key=lambda b: (b / "compile_commands.json").stat().st_mtime)
        work = next(filter(None, map(commands, reversed(builds))), [])
        if not work:
            sys.exit("no build folder with CUDA sources; build with -C cmake.define.PHYSIOCLR_CUDA=ON first")
        allowed = allowances(ROOT / "csrc" / "cuda")
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(compile_one, f, s, a, d) for f, s, d in work for a in args.arch]
        usages = [u for job in jobs for u in parse(job.result())]
    for u in sorted(set(usages), key=lambda u: (short(u.kernel), u.arch, u.kernel)):
        print(
            f"{short(u.kernel):44} {u.arch:6} {u.registers:4} registers {u.shared:6} B shared {u.stack:5} B stack "
            f"{u.spilled:5} B spilled"
        )
    found = problems(usages, allowed)
    print("\n".join(found) or f"{len(usages)} kernels: no spills, no stack frames that are not allowed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
