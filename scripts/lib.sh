# Shared by setup, start and test; sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NODE_MAJOR_MIN=20

say() { printf 'rawstor: %s\n' "$*" >&2; }
die() {
  say "error: $1"
  [ -z "${2:-}" ] || printf '         hint: %s\n' "$2" >&2
  exit "${3:-69}"
}

# Debian packages of the arguments that are not installed, one a line.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^ii' || printf '%s\n' "$name"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "need root to run: $*" 'run this script as root once, or install sudo' 77
  fi
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >&2
}

# Installs what is missing of the arguments, and asks the archive for nothing when all is there.
need_packages() {
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die 'this script installs packages with apt-get, which is not here' "on other systems install by hand what Debian calls: $*"
  local missing name
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  local stale=0
  for name in "${missing[@]}"; do
    apt-cache show "$name" >/dev/null 2>&1 || stale=1
  done
  if [ $stale = 0 ] && apt_get install -y --no-install-recommends "${missing[@]}"; then return 0; fi
  # No list of packages yet, or one older than the archive.
  apt_get update || die 'apt-get update failed' 'see its messages above'
  apt_get install -y --no-install-recommends "${missing[@]}" ||
    die "could not install ${missing[*]}" 'see the messages of apt-get above'
}

need_node() {
  command -v node >/dev/null && command -v npm >/dev/null ||
    die 'node and npm are not here' "install Node.js $NODE_MAJOR_MIN or newer: https://nodejs.org"
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge $NODE_MAJOR_MIN ] ||
    die "Node.js $(node -v) is too old" "install Node.js $NODE_MAJOR_MIN or newer: https://nodejs.org"
}

# What the installed packages depend on: their list, and the binary interface of this node.
modules_stamp() {
  { cat "$ROOT/package-lock.json"; node -p 'process.versions.modules + process.arch'; } | sha256sum
}

# Where the headers of this node are, so that node-gyp fetches none: beside it as its archive brings them, or from Debian.
use_own_headers() {
  local prefix dir
  prefix=$(node -p 'require("node:path").resolve(process.execPath, "../..")')
  for dir in "$prefix/include/node" /usr/include/nodejs/src /usr/include/node; do
    if [ -e "$dir/node.h" ] && headers_fit "$dir/node_version.h"; then
      npm_config_nodedir=${dir%/include/*}
      [ "$dir" != /usr/include/nodejs/src ] || npm_config_nodedir=/usr/include/nodejs
      export npm_config_nodedir
      return 0
    fi
  done
}

headers_fit() {
  [ "$(sed -n 's/^#define NODE_M[AI][JN]OR_VERSION //p' "$1" | paste -sd.)" = \
    "$(node -p 'process.versions.node.split(".").slice(0, 2).join(".")')" ]
}

# `npm ci` when the list of packages changed since the last one; it builds the addon as well.
need_modules() {
  local stamp=$ROOT/node_modules/.rawstor-stamp
  if [ "$(cat "$stamp" 2>/dev/null)" = "$(modules_stamp)" ]; then return 0; fi
  say 'installing npm packages'
  use_own_headers
  (cd "$ROOT" && npm ci --no-audit --no-fund --loglevel=error >&2) || die 'npm ci failed' 'see its messages above'
  modules_stamp >"$stamp"
}

need_addon() {
  local addon=$ROOT/build/Release/rawstor_native.node
  if [ -e "$addon" ] && [ -z "$(find "$ROOT/src/native" "$ROOT/binding.gyp" -newer "$addon" \
    \( -name '*.cc' -o -name '*.h' -o -name '*.gyp' \) -print -quit)" ]; then
    return 0
  fi
  say 'building the addon'
  use_own_headers
  # npm brings node-gyp along: `npm exec --loglevel=error -c` has it in its PATH.
  (cd "$ROOT" && npm exec --loglevel=error -c 'node-gyp rebuild --loglevel=error' >&2) ||
    die 'the addon did not build' 'see the messages of the compiler above'
}

# Compiles src/ to dist/ when a source is newer.
need_build() {
  local stamp=$ROOT/dist/.built
  if [ -e "$stamp" ] && [ -z "$(find "$ROOT/src" "$ROOT"/tsconfig*.json -newer "$stamp" -type f -print -quit)" ]; then
    return 0
  fi
  say 'compiling'
  mkdir -p "$ROOT/dist"
  # Dated before the compiler reads: a source that changes meanwhile is then newer.
  touch "$ROOT/dist/.building"
  (cd "$ROOT" && npm run --silent build >&2) || die 'npm run build failed' 'see the messages of the compiler above'
  mv "$ROOT/dist/.building" "$stamp"
}
