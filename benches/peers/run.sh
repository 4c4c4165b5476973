#!/usr/bin/env bash
# Runs the whole benchmark: installs missing peers, builds this crate's worker, times all workers, and
# prints the report.
#
#   ./run.sh [--record] [OPTIONS OF run.py]
#
# --record stores the results in ../record and rewrites the README's section on speed from them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

command="benches/peers/run.sh"
for argument in "$@"; do command+=" $(printf %q "$argument")"; done
options=() report=()
for argument in "$@"; do
    if [ "$argument" = --record ]; then report=(--record --readme); else options+=("$argument"); fi
done

packages="torch, onnxruntime, openvino, jax, numpy, safetensors"
if .venv/bin/python -c "import $packages" 2>/dev/null && [ -e rust/rtneural/source ]; then
    (cd rust && cargo build --release --workspace)
else
    ./setup.sh
fi
(cd ours && cargo build --release)
results=$(.venv/bin/python run.py --ours "'$PWD/ours/target/release/recurrent_worker'" \
    --command "$command" "${options[@]}" | tail -n 1)
echo "results: benches/peers/$results" >&2
.venv/bin/python report.py "$results" "${report[@]}"
