#!/usr/bin/env bash
# What a machine with a CUDA device is asked, in one go: tests, step times, a real fit.
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
ask fit "${pyrodgm[@]}" fit --model tsbn --data "${PYRODGM_GPU_DATA:-balls}" --device cuda \
  --time-limit 40 --out "$out/run"
ask evaluate "${pyrodgm[@]}" evaluate "$out/run" --particles 10 --json
exit $failed
