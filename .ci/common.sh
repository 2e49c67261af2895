# shellcheck shell=bash
# What .ci/run, .ci/nightly and .ci/weekly share: they read it with `source`, and then call parts, each a function.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# One more than there are cores: many tests wait for processes that they started or killed.
cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
export PYTEST_XDIST_AUTO_NUM_WORKERS=$((cores + 1))
# What a part needs beside .venv lies here, and what parts print that run beside others.
made=.venv-packages
declare -A running
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

# The nth block of commands of a page: they are run as they stand there, so that they cannot go stale.
block() {
    awk -v wanted="$2" '/^```sh$/ {inside = ++seen == wanted; next} /^```$/ {inside = 0} inside' "$1"
}

try() {
    [ -n "$1" ] || { echo "The page has no such commands" && return 1; }
    echo "+ $1"
    bash -c "set -e; $1"
}

part() {
    local began=$SECONDS
    "$@"
    echo "== $*: $((SECONDS - began)) s"
}

beside() {
    mkdir -p "$made"
    part "$@" >"$made/$1.log" 2>&1 &
    running[$1]=$!
}

finish() {
    local status=0
    wait "${running[$1]}" || status=$?
    cat "$made/$1.log"
    return "$status"
}

# Whatever the parts before have made: a job of the workflow has one part alone.
environment() {
    [ -x .venv/bin/pytest ] || try "$(block .github/CONTRIBUTING.md 1)"
}

# What pip cannot install: tests of pages skip without a Chromium, that of Fashion-MNIST without its
# files, and those of wrong clocks need faketime. What is passed is installed as well.
system() {
    local needed=(chromium dataset-fashion-mnist faketime "$@")
    dpkg -s "${needed[@]}" >/dev/null 2>&1 || (apt-get -qq update && apt-get -qq install -y "${needed[@]}") >/dev/null 2>&1 ||
        echo "Not all of ${needed[*]} could be installed: tests will be skipped"
}

# Keras's other backends. This machine has PyTorch for the CPU where pip looks; PyPI's brings gigabytes
# of CUDA, so "test" leaves it out.
other_backends() {
    environment
    .venv/bin/pip install -q -e ".[jax,torch]"
}

# The servers that a machine has to have: where they are named, one that does not answer is an error.
servers() {
    export KERASTUNE_POSTGRESQL=${KERASTUNE_POSTGRESQL-postgresql+psycopg://postgres@127.0.0.1:5432/postgres}
    export KERASTUNE_MARIADB=${KERASTUNE_MARIADB-mysql+pymysql://root@127.0.0.1:3306/test}
}

# Does all parts even where one fails; what failed is named in the end.
each() {
    local failed=() name status
    for name in "$@"; do
        set +e # else an error in the part would not end it
        (set -e && part "$name")
        status=$?
        set -e
        [ "$status" = 0 ] || failed+=("$name")
    done
    [ ${#failed[@]} = 0 ] || { echo "Failed: ${failed[*]}" && exit 1; }
}
