#!/usr/bin/env bash
# Builds the layer zips into target/: a thin shell over `o2-lambda build`.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'TEXT'
Usage: ./build.sh [build|repackage|test|check|clean|help] [OPTION]...

  build      build the layer zips into target/ (the default)
  repackage  pack them anew; compiled parts come from the cache
  test       run the layer's tests
  check      check style and types
  clean      remove target/ and the layer's cache
  help       this text

Variables:
  BUILD_TARGETS   all (the default), x86_64-unknown-linux-musl, aarch64-unknown-linux-musl;
                  several with commas between them
  BUILD_RUNTIMES  all (the default: full and core), core, full, java; several with commas between
                  them; node and python are parts of the full zip

Options of build and repackage go to `o2-lambda build`, see `o2-lambda build --help`: --inspect, --target.
TEXT
}

die() {
    echo "build.sh: $*" >&2
    exit 2
}

prepare() {
    make --silent venv
}

build() {
    local arch='' variants=() name one
    local -a names
    IFS=', ' read -ra names <<<"${BUILD_TARGETS:-all}"
    for name in "${names[@]}"; do
        case "$name" in
            all) one=all ;;
            x86_64-unknown-linux-musl | x86_64) one=x86_64 ;;
            aarch64-unknown-linux-musl | arm64) one=arm64 ;;
            *) die "BUILD_TARGETS: unknown target '$name'; ./build.sh help lists them" ;;
        esac
        if [ "${arch:-$one}" = "$one" ]; then arch=$one; else arch=all; fi
    done
    IFS=', ' read -ra names <<<"${BUILD_RUNTIMES:-all}"
    for name in "${names[@]}"; do
        case "$name" in
            all) variants+=(--variant full --variant core) ;;
            full | node | python) variants+=(--variant full) ;;
            core | java) variants+=(--variant "$name") ;;
            *) die "BUILD_RUNTIMES: unknown runtime '$name'; ./build.sh help lists them" ;;
        esac
    done
    prepare
    exec .venv/bin/o2-lambda build --arch "${arch:-all}" "${variants[@]}" "$@" # both side by side
}

case "${1:-build}" in
    build | repackage) build "${@:2}" ;;
    test)
        prepare
        .venv/bin/pytest tests/packaging
        ;;
    check) make lint ;;
    clean) rm -rf target .cache/layer ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        die "unknown command '$1'"
        ;;
esac
