#!/usr/bin/env bash
# Prints the size of benches/size/stream.rs, a program that loads a model and streams it, built without default
# features and stripped: with Cargo's release profile, and with link-time optimisation over all crates and without
# unwinding.
#
#   benches/size.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cp "$root/benches/size/stream.rs" "$folder/src/main.rs"
cat >"$folder/Cargo.toml" <<TOML
[package]
name = "stream"
version = "0.0.0"
edition = "2024"

[dependencies]
recurrent = { path = "$root", default-features = false }

[profile.release]
strip = true

[profile.small]
inherits = "release"
lto = "fat"
codegen-units = 1
panic = "abort"
TOML
for profile in release small; do
    cargo build --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target" --profile "$profile"
    printf '%-8s %9d bytes\n' "$profile" "$(stat -c %s "$folder/target/$profile/stream")"
done
