#!/usr/bin/env bash
# Unpacks the sources of RTNeural into rust/rtneural/source. It has no package of its own, but Debian's
# sources of guitarix contain it, with the Eigen, xsimd and JSON libraries that it uses. apt checks their
# signature. Its lists are kept apart from those of the system, so that this needs no rights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

suite=trixie
version=0.46.0+dfsg
target=$PWD/rust/rtneural/source

[ -e "$target/RTNeural/RTNeural.h" ] && exit
keys=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '/\/debian\/?$/ && !n++')
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
echo "deb-src [signed-by=$keys] $mirror $suite main" > "$folder/sources.list"
options=(
    -qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o "APT::Sandbox::User=$(id -un)"
)
cd "$folder"
apt-get "${options[@]}" update
apt-get "${options[@]}" source --download-only --tar-only "guitarix=$version-1"
mkdir -p "$target"
inside=guitarix-$version/src/RTNeural/RTNeural
tar -xf "guitarix_$version.orig.tar.xz" --no-same-owner -C "$target" --strip-components=4 "$inside"/{RTNeural,modules,LICENSE}
