#!/usr/bin/env bash
# What a machine with a CUDA device is asked, in one go: tests, step times, paths drawn in sweeps
# over time and by the loop, a fit of `tsbn` and one of `vrnn`.
#   bash tests/gpu.sh [PYTHON] [FOLDER for what it prints and for the run]
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=${2:-$(mktemp -d)}
failed=0
ask() {
  local name=$1
  shift
  echo "== $name: $*"
  "$@" 2>&1 | tee "$out/$name.log" || failed=1
}
pyrodgm=("$python" -c "from pyrodgm_cli.main import main; main()")
ask tests "$python" -m pytest -m gpu -q -p no:cacheprovider
ask step_time "$python" tests/benchmarks/step_time.py --device cuda
data="${PYRODGM_GPU_DATA:-balls}"
for order in 1 4; do
  ask "sweeps_$order" "$python" tests/benchmarks/sweeps.py --device cuda --data "$data" \
    --order "$order" --rounds 5
done
for model in tsbn vrnn; do
  ask "fit_$model" "${pyrodgm[@]}" fit --model "$model" --data "$data" --device cuda \
    --time-limit 40 --out "$out/$model"
  ask "evaluate_$model" "${pyrodgm[@]}" evaluate "$out/$model" --particles 10 --json
done
exit $failed
