#!/usr/bin/env bash
# What a user pays to build a crate: the crates of a release build with default features, and the
# seconds that it takes from nothing on two cores, downloads apart. One table.
#
#   benches/dependencies.sh [recurrent] [candle-nn] [burn] …     all three where none is named
#
# Asked of ours: at most 48 crates, below 45 s.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
most_crates=48 most_seconds=45

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CARGO_TARGET_DIR="$folder/target" CARGO_TERM_COLOR=never

# A project that uses the crate and nothing else.
project() {
    mkdir -p "$folder/$1/src"
    echo 'fn main() {}' >"$folder/$1/src/main.rs"
    local source='"*"'
    if [ "$1" = recurrent ]; then source="{ path = \"$root\" }"; fi
    printf '[package]\nname = "user"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\n%s = %s\n' \
        "$1" "$source" >"$folder/$1/Cargo.toml"
}

row() {
    project "$1"
    cd "$folder/$1"
    rm -rf "$CARGO_TARGET_DIR"
    cargo fetch --quiet
    local version crates start seconds verdict=
    version=$(cargo tree --prefix none --depth 1 | awk -v name="$1" '$1 == name { print $2 }')
    crates=$(cargo tree --prefix none --no-dedupe --edges normal,build |
        awk '$1 != "user" && NF { print $1, $2 }' | sort -u | wc -l)
    start=$EPOCHREALTIME
    if ! cargo build --release --jobs 2 >"$folder/log" 2>&1; then
        tail -n 20 "$folder/log" >&2
        return 1
    fi
    seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    if [ "$1" = recurrent ]; then
        verdict=$(awk -v c="$crates" -v s="$seconds" -v mc=$most_crates -v ms=$most_seconds \
            'BEGIN { print (c <= mc && s < ms) ? "met" : "not met" }')
    fi
    echo "| $1 | $version | $crates | $seconds | $verdict |"
}

echo "$(rustc --version), $(nproc) cores"
echo
echo "| crate | version | crates | build, s | asked ≤ $most_crates, < $most_seconds |"
echo "|---|---:|---:|---:|---:|"
[ $# -gt 0 ] || set -- recurrent candle-nn burn
for crate in "$@"; do (row "$crate"); done
