#!/usr/bin/env bash
# Measures the build of a small program that trains an LSTM: the number of crates, and the CPU seconds
# (user and system, of cargo and its child processes) and wall seconds, from an empty target folder and
# again after a touch of main.rs. Release profile, 2 jobs, without downloads.
#
#   benches/build_times.sh [recurrent] [candle-nn] [burn]     by default all three
#   benches/build_times.sh commands     the README's two commands, in a clone of the last commit
#
# Ours is the README's first program, with the README's manifest and this working tree. The others are
# benches/build_times/candle.rs and burn.rs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
most_crates=48 most_empty=90 most_again=8 most_example=150 most_test=500 # bounds for ours, in CPU seconds

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CARGO_TARGET_DIR="$folder/target" CARGO_BUILD_JOBS=2 CARGO_TERM_COLOR=never LC_ALL=C
export CARGO_INCREMENTAL=0 # so that every build does all of its work
unset RUSTFLAGS RUSTC_WRAPPER # the default compiler, without a cache

die() { echo "$1" >&2; exit 1; }

# Prints the first block of the README in the language $1.
block() {
    awk -v fence="\`\`\`$1" 'on && /^```/ { exit } on; index($0, fence) == 1 { on = 1 }' "$root/README.md"
}

# Runs a command and prints its CPU seconds and wall seconds, or the end of its output if it fails.
measure() {
    local TIMEFORMAT='%U %S %R'
    if ! { time "$@" </dev/null >"$folder/log" 2>&1; } 2>"$folder/time"; then
        tail -n 20 "$folder/log" >&2
        return 1
    fi
    awk '{ printf "%.1f %.1f\n", $1 + $2, $3 }' "$folder/time"
}

# Prints the verdict for pairs of a value and its bound.
verdict() {
    awk 'BEGIN {
        for (i = 1; i < ARGC; i += 2) if (ARGV[i] + 0 > ARGV[i + 1] + 0) missed = 1
        print missed ? "not met" : "met"
    }' "$@"
}

# Writes the program that uses the crate $1. Versions are those of benches/peers/rust/Cargo.toml.
project() {
    mkdir -p "$folder/$1/src"
    cd "$folder/$1"
    printf '[package]\nname = "user"\nversion = "0.0.0"\nedition = "2024"\n\n' >Cargo.toml
    case $1 in
    recurrent)
        block toml | sed "s|path = \"[^\"]*\"|path = \"$root\"|" >>Cargo.toml
        grep -qF "path = \"$root\"" Cargo.toml || die "README.md's manifest names no path"
        block rust >src/main.rs
        ;;
    candle-nn)
        printf '%s\n' '[dependencies]' 'candle-core = "=0.11.1"' 'candle-nn = "=0.11.1"' >>Cargo.toml
        cp "$root/benches/build_times/candle.rs" src/main.rs
        ;;
    burn)
        printf '[dependencies]\nburn = { version = "=0.22.1", default-features = false, features = %s }\n' \
            '["std", "ndarray", "optim"]' >>Cargo.toml # "optim" brings autodiff
        cp "$root/benches/build_times/burn.rs" src/main.rs
        ;;
    *) die "unknown crate: $1" ;;
    esac
}

row() {
    local version crates timing empty empty_wall again again_wall met=
    project "$1"
    rm -rf "$CARGO_TARGET_DIR"
    cargo fetch --quiet
    version=$(cargo tree --prefix none --depth 1 | awk -v name="$1" '$1 == name { print $2 }')
    crates=$(cargo tree --prefix none --no-dedupe --edges normal,build |
        awk '$1 != "user" && NF { print $1, $2 }' | sort -u | wc -l)
    timing=$(measure cargo build --release)
    read -r empty empty_wall <<<"$timing"
    touch src/main.rs
    timing=$(measure cargo build --release)
    read -r again again_wall <<<"$timing"
    if [ "$1" = recurrent ]; then
        met=$(verdict "$crates" $most_crates "$empty" $most_empty "$again" $most_again)
    fi
    echo "| $1 | $version | $crates | $empty | $again | $empty_wall | $again_wall | $met |"
}

commands() {
    git clone --quiet "$root" "$folder/clone"
    cd "$folder/clone"
    cargo fetch --quiet
    local command most timing cpu wall
    echo "| command, from an empty target folder | CPU, s | wall, s | required CPU | |"
    echo "|---|---:|---:|---:|---|"
    while read -r most command; do
        rm -rf "$CARGO_TARGET_DIR"
        timing=$(measure bash -c "$command")
        read -r cpu wall <<<"$timing"
        echo "| \`$command\` | $cpu | $wall | ≤ $most | $(verdict "$cpu" "$most") |"
    done <<<"$most_example cargo run --release --example many_to_one"$'\n'"$most_test cargo test"
}

printf '%s, %s cores\n\n' "$(rustc --version)" "$(nproc)"
if [ "${1-}" = commands ]; then commands; exit; fi
asked="required ≤ $most_crates crates, $most_empty and $most_again CPU s"
echo "| crate | version | crates | empty, CPU s | rebuild, CPU s | empty, wall s | rebuild, wall s | $asked |"
echo "|---|---:|---:|---:|---:|---:|---:|---|"
if [ $# = 0 ]; then set -- recurrent candle-nn burn; fi
for crate in "$@"; do (row "$crate"); done
