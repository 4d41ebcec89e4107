#!/usr/bin/env bash
# Unpack Debian's Ceph packages into a folder. Nothing is installed, no privilege is needed.
set -euo pipefail
folder=${1:?usage: tests/fetch_ceph.sh FOLDER}

command -v apt-get >/dev/null || {
  echo "tests/s3 runs Ceph from Debian's packages, and this system has no apt-get" >&2
  exit 1
}
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
apt=(apt-get -qq -y
  -o "Dir::State::Lists=$(realpath "$folder")/apt/lists"
  -o "Dir::Cache=$(realpath "$folder")/apt/cache"
  -o APT::Sandbox::User= -o Debug::NoLocking=1 -o Acquire::Languages=none -o Acquire::Retries=3)
"${apt[@]}" update
# What they depend on and this system has is not fetched again.
"${apt[@]}" install --download-only --no-install-recommends radosgw ceph-mon ceph-osd
for package in "$folder"/apt/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
rm -r "$folder/apt"
