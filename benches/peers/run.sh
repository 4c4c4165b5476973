#!/usr/bin/env bash
# Builds this crate's worker and times it beside the others: ./run.sh [OPTIONS OF run.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [ ! -x .venv/bin/python ] || [ ! -x rust/target/release/peak ]; then
    ./setup.sh
fi
(cd ours && cargo build --release)
exec .venv/bin/python run.py --ours "'$PWD/ours/target/release/recurrent_worker'" "$@"
