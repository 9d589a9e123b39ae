#!/usr/bin/env bash
# Everything that needs a GPU, in one command and under 8 minutes, without the network:
#   benchmarks/gpu_check.sh             on a machine with a GPU, nvcc, torch, pybind11 and scikit-build-core
#   benchmarks/gpu_check.sh --no-gpu    rehearsal: every step that needs no device, the others on the CPU at small sizes
# Builds the package, reads what ptxas says of the kernels, runs the tests marked `cuda`, compute-sanitizer (memcheck and
# racecheck) over each operator once, compares CPU and GPU on the shipped records, and times every op beside PyTorch and
# the measured copy bandwidth and matmul rate. Writes benchmarks/results/<gpu>.json and .md; a rehearsal writes below
# build/gpu_check. PYTHON=... chooses the interpreter. A step that fails does not stop the others.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
gpu=1
case ${1:-} in
  "") ;;
  --no-gpu) gpu=0 ;;
  *) sed -n '2,9p' "$0" && exit 2 ;;
esac
work=$PWD/build/gpu_check
rm -rf "$work"
mkdir -p "$work"
export PYTHONPATH=$work/site PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
unset CUDA_LAUNCH_BLOCKING
steps="" failed=0 started=$SECONDS

# step NAME SECONDS COMMAND...: runs it for at most that long, and not past the 8 minutes
step() {
  local name=$1 limit=$2 begun=$SECONDS rc result left=$((475 - (SECONDS - started)))
  shift 2
  ((limit < left)) || limit=$((left > 1 ? left : 1))
  echo "== $name"
  timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1
  rc=$?
  case $rc in 0) result=passed ;; 124 | 137) result="over $limit s" ;; *) result="failed ($rc)" ;; esac
  ((rc == 0)) || failed=1
  tail -n $((rc ? 40 : 4)) "$work/$name.log"
  echo "   $name: $result, $((SECONDS - begun)) s"
  steps+="$name,$result,$((SECONDS - begun));"
}
skip() {
  echo "== $1: $2"
  steps+="$1,$2,0;"
}

check=("$python" benchmarks/gpu/check.py)
mode=()
((gpu)) || mode=(--no-gpu)
cuda=AUTO
((gpu)) && cuda=ON

step build 240 "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation --no-deps \
  --target "$work/site" -C cmake.define.PHYSIOCLR_CUDA=$cuda -C build-dir="$work/cmake" .
step info 60 "$python" -c 'import physioclr as pc
said = pc.info()
for k, v in said.items(): print(f"{k}: {v}")
assert pc.__file__.startswith("'"$work"'"), pc.__file__
print("cuda:", said["cuda"])'
if grep -q '\.cu"' "$work/cmake/compile_commands.json" 2>/dev/null; then
  step ptxas 120 "$python" tests/support/ptxas_check.py "$work/cmake" --jobs "$(nproc)"
else
  skip ptxas "no nvcc"
fi
step tests 200 "$python" -m pytest -m cuda -q -rf -W default -p no:cacheprovider tests
only=()  # this library's kernels: PyTorch's own would take long
for option in --kernel-name --filter; do
  if compute-sanitizer --help 2>/dev/null | grep -q -e "$option"; then
    only=("$option" kns=physioclr) && break
  fi
done
for tool in memcheck racecheck; do
  if ((gpu)) && command -v compute-sanitizer >/dev/null; then
    # without PyTorch's cache every array is an allocation of its own, so that an index past its end is seen
    step $tool 110 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool --error-exitcode 9 "${only[@]}" "${check[@]}" short
  elif ((gpu)); then
    skip $tool "no compute-sanitizer"
    failed=1
  else
    step $tool 110 "${check[@]}" short --no-gpu
  fi
done
step equality 100 "${check[@]}" equality --json "$work/equality.json" "${mode[@]}"
step bench 200 "${check[@]}" bench --json "$work/bench.json" "${mode[@]}"
folder=benchmarks/results
((gpu)) || folder=$work/results
"${check[@]}" report --parts "$work/equality.json" "$work/bench.json" --steps "$steps" --folder "$folder" "${mode[@]}" ||
  failed=1
echo "gpu_check: $((SECONDS - started)) s, $( ((failed)) && echo "something failed, see $work/*.log" || echo "all passed")"
exit $failed
