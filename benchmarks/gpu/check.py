"""The Python part of benchmarks/gpu_check.sh: `short` (each operator once, for compute-sanitizer), `equality` (CPU and
GPU on the shipped records), `bench` (times, beside PyTorch and the measured ceilings), `report` (JSON to Markdown).

python benchmarks/gpu/check.py equality --json part.json [--no-gpu]
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests" / "support")]

import op_cases  # noqa: E402
import workloads  # noqa: E402

import physioclr as pc  # noqa: E402


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def reason(e: BaseException) -> str:
    return f"{type(e).__name__}: {str(e).splitlines()[0][:160]}" if str(e) else type(e).__name__


# ---- short, equality -------------------------------------------------------------------------------------------------


def short(device: torch.device) -> dict[str, Any]:
    """Each case once on few samples."""
    x, failed = op_cases.made_up(2, 700).on(device), {}
    for case in op_cases.CASES:
        try:
            op_cases.run(case, x)
            sync(device)
            print(f"ran {case.name}", flush=True)
        except Exception as e:
            failed[case.name] = reason(e)
            print(f"FAILED {case.name}: {failed[case.name]}", flush=True)
    return {"ran": len(op_cases.CASES) - len(failed), "failed": failed}


def real_inputs() -> op_cases.Inputs:
    """The 80 shipped records and the features of their halves. Read without wfdb."""
    sample = pc.data.sample()
    ecg = np.stack([pc.data.read_record(sample.path / r).millivolts() for r in sample.record_ids])
    features = pc.physio_features(ecg, 500.0, segment=5.0).reshape(2 * len(ecg), -1)
    return op_cases.inputs_of(ecg, pc.FeatureSpace.fit(features).transform(features), width=64)


def equality(device: torch.device) -> dict[str, Any]:
    """Every case on the CPU and on the device."""
    x, rows = real_inputs(), []
    y = x.on(device)
    for case in op_cases.CASES:
        row = {"case": case.name, "tolerance": case.tolerance, "agreement": case.agreement}
        try:
            row["differences"] = op_cases.differences(case, op_cases.run(case, y), op_cases.run(case, x))
        except Exception as e:
            row["differences"] = [reason(e)]
        row["equal"] = not row["differences"]
        rows.append(row)
        print(f"{'equal ' if row['equal'] else 'DIFFERS'} {case.name} {'; '.join(row['differences'])}", flush=True)
    missing = sorted(op_cases.uncovered())
    return {"records": len(x.ecg), "cases": rows, "operators_without_a_case": missing}


# ---- bench -----------------------------------------------------------------------------------------------------------


def milliseconds(run: Any, device: torch.device, seconds: float = 0.4) -> float:
    """Median time of a call, by events on the device, after a warm-up."""
    for _ in range(3):
        run()
    sync(device)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
        if device.type == "cuda":
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            run()
            b.record()
            b.synchronize()
            times.append(a.elapsed_time(b))
        else:
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ceilings(device: torch.device, scale: float) -> dict[str, float]:
    """Bytes a second of a copy (read and written), and operations a second of matrix products, on random data."""
    n = max(1 << 16, int((1 << 30) * scale))
    x = torch.randn(n // 4, device=device)
    y = torch.empty_like(x)
    found = {"copy GB/s": 2 * x.numel() * 4 / milliseconds(lambda: y.copy_(x), device) / 1e6}
    m = 64 if scale < 1 else 8192
    for name, dtype, tf32 in (("float32", torch.float32, False), ("tf32", torch.float32, True),
                              ("bfloat16", torch.bfloat16, False)):  # fmt: skip
        a, b = torch.randn(m, m, device=device).to(dtype), torch.randn(m, m, device=device).to(dtype)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        found[f"{name} TFLOP/s"] = 2 * m**3 / milliseconds(lambda a=a, b=b: a @ b, device) / 1e9
    torch.backends.cuda.matmul.allow_tf32 = False
    return found


def peer_times(w: workloads.Workload, device: torch.device, scale: float, compile_too: bool) -> dict[str, Any]:
    times: dict[str, Any] = {}
    if w.eager is None:
        return times
    try:
        run = w.eager(device, scale)
        times["torch eager ms"] = milliseconds(run, device)
        if w.compiled and compile_too:
            if run.__defaults__:  # the whole call has autograd.grad in it: compile the loss alone
                f = torch.compile(run.__defaults__[0])
                times["torch.compile ms"] = milliseconds(lambda: run(f), device)
            else:
                times["torch.compile ms"] = milliseconds(torch.compile(run), device)
    except Exception as e:
        times["torch failed"] = reason(e)
    return times


def bench(device: torch.device, scale: float, budget: float) -> dict[str, Any]:
    """Times of every workload; when `budget` seconds are over, torch.compile is left out of the rest."""
    start = time.perf_counter()
    top = ceilings(device, scale)
    print("  ".join(f"{k} {v:,.1f}" for k, v in top.items()), flush=True)
    rows = []
    for w in workloads.WORKLOADS:
        moved, flops = w.moved(scale), w.flops(scale)
        floors = {"memory": moved / top["copy GB/s"] / 1e6, "float32": flops / top["float32 TFLOP/s"] / 1e9}
        row: dict[str, Any] = {
            "workload": w.name,
            "ops": list(w.ops),
            "bytes": moved,
            "flops": flops,
            "floors ms": floors,
        }
        try:
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            run = w.setup(device, scale)
            before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
            row["ms"] = milliseconds(run, device)
            if device.type == "cuda":
                run()
                row["peak MB above inputs"] = (torch.cuda.max_memory_allocated() - before) / 1e6
            del run
        except Exception as e:
            row["failed"] = reason(e)
        row |= peer_times(w, device, scale, time.perf_counter() - start < budget)
        rows.append(row)
        print(
            f"{w.name}: {row.get('ms', float('nan')):.3f} ms, floor {max(floors.values()):.3f}, "
            + ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if "torch" in k)
            + row.get("failed", ""),
            flush=True,
        )
    from physioclr.ops import _torch

    timed = {op for w in workloads.WORKLOADS for op in w.ops}
    registered = {name.partition("::")[2] for name in _torch.LIB._op_defs}
    return {"ceilings": top, "rows": rows, "operators_not_timed": sorted(registered - timed)}


# ---- report ----------------------------------------------------------------------------------------------------------


def machine(device: torch.device) -> dict[str, Any]:
    about = {"date": datetime.date.today().isoformat(), "torch": torch.__version__, "physioclr": pc.info()}
    if device.type == "cuda":
        p = torch.cuda.get_device_properties(device)
        about |= {"gpu": p.name, "multiprocessors": p.multi_processor_count, "memory GB": p.total_memory / 1e9}
    else:
        about["gpu"] = "none: a rehearsal on the CPU, of which no figure means anything"
    return about


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"# {result['machine']['gpu']}, {result['machine']['date']}",
        "",
        "Written by `benchmarks/gpu_check.sh`.",
        "",
    ]
    lines += ["| step | result | seconds |", "|---|---|---|"]
    lines += [f"| {s['step']} | {s['result']} | {s['seconds']} |" for s in result.get("steps", [])]
    bench = result.get("bench")
    if bench:
        tops = ", ".join(f"{k} {v:,.1f}" for k, v in bench["ceilings"].items())
        lines += ["", f"Measured ceilings: {tops}.", ""]
        lines += [
            "| workload | ms | floor ms | floor | x floor | torch eager ms | torch.compile ms |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in bench["rows"]:
            which, floor = max(row["floors ms"].items(), key=lambda kv: kv[1])
            ms = row.get("ms")
            lines.append(
                f"| {row['workload']} | {f'{ms:.3f}' if ms else row.get('failed')} | {floor:.3f} | {which} | "
                f"{f'{ms / floor:.1f}' if ms and floor else ''} | "
                + " | ".join(f"{row[k]:.3f}" if k in row else "" for k in ("torch eager ms", "torch.compile ms"))
                + " |"
            )
    equal = result.get("equality")
    if equal:
        wrong = [r for r in equal["cases"] if not r["equal"]]
        lines += ["", f"CPU and GPU on {equal['records']} real records: {len(equal['cases']) - len(wrong)} of "
                      f"{len(equal['cases'])} cases equal within their tolerances."]  # fmt: skip
        lines += [f"- {r['case']}: {'; '.join(r['differences'])}" for r in wrong]
    return "\n".join(lines) + "\n"


def report(parts: list[Path], steps: str, folder: Path, device: torch.device) -> dict[str, Any]:
    result: dict[str, Any] = {"machine": machine(device), "steps": []}
    for line in filter(None, steps.split(";")):
        step, outcome, seconds = line.split(",")
        result["steps"].append({"step": step, "result": outcome, "seconds": int(seconds)})
    for part in parts:
        if part.exists():
            result[part.stem] = json.loads(part.read_text())
    name = "rehearsal" if device.type == "cpu" else result["machine"]["gpu"].lower().replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / f"{name}.md").write_text(markdown(result))
    print(markdown(result))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["short", "equality", "bench", "report"])
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--no-gpu", action="store_true", help="run everything on the CPU at small sizes")
    parser.add_argument("--parts", type=Path, nargs="*", default=[])
    parser.add_argument("--steps", default="")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "results")
    parser.add_argument(
        "--budget", type=float, default=90.0, help="bench: seconds after which torch.compile is left out"
    )
    args = parser.parse_args()
    device = torch.device("cpu" if args.no_gpu else "cuda:0")
    if args.what == "short":
        result = short(device)
        bad = bool(result["failed"])
    elif args.what == "equality":
        result = equality(device)
        bad = not all(r["equal"] for r in result["cases"]) or bool(result["operators_without_a_case"])
    elif args.what == "bench":
        result = bench(device, 0.002 if args.no_gpu else 1.0, args.budget)
        bad = any("failed" in r for r in result["rows"])
    else:
        result, bad = report(args.parts, args.steps, args.folder, device), False
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
