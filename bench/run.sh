#!/usr/bin/env bash
# /decrypt-value in one run: codec (journal fsynced; without fsync; without fsync and with two policies, each decision on a fresh
# instance), the seed's Node service without any audit, a bare axum echo. Before that: what one decision of each policy costs.
# Servers take turns, PAIRS times over; medians and ratios count, for machines are noisy. All on loopback, each load SECONDS long.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${PAIRS:-5} seconds=${SECONDS_EACH:-3}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
node=target/tools/node/bin/node
[ -x $node ] || node=node

export KEK_SECRET INTERNAL_SERVICE_TOKEN
KEK_SECRET=$(target/release/codec keys generate 2>/dev/null)
INTERNAL_SERVICE_TOKEN=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
fsync=$(port) os=$(port) policies=$(port) seed=$(port) echo=$(port)
servers='fsync os policies seed echo'

for policy in recency access window; do
    target/release/codec-plugin bench target/plugins/policy-$policy.wasm --cases plugins/policy-$policy/cases.toml
done

CODEC_LISTEN=127.0.0.1:$fsync CODEC_DATA_DIR=$work/fsync target/release/codec serve 2>"$work/fsync.log" &
printf '[audit]\ndurability = "os"\n' >"$work/os.toml"
CODEC_LISTEN=127.0.0.1:$os CODEC_DATA_DIR=$work/os target/release/codec --config "$work/os.toml" serve 2>"$work/os.log" &
cat >"$work/policies.toml" <<EOF
[audit]
durability = "os"
[plugins]
dir = "$PWD/target/plugins"
[[policies]]
name = "recency"
path = "policy-recency.wasm"
settings = { max_age = "24h" }
[[policies]]
name = "access"
path = "policy-access.wasm"
settings = { table = "service | * | * | *" }
EOF
CODEC_LISTEN=127.0.0.1:$policies CODEC_DATA_DIR=$work/policies target/release/codec --config "$work/policies.toml" serve 2>"$work/policies.log" &
PORT=$seed "$node" bench/baseline/codec-service.mjs &
target/release/examples/echo 127.0.0.1:$echo >/dev/null &
for at in $fsync $os $policies $seed $echo; do
    until (exec 3<>"/dev/tcp/127.0.0.1/$at") 2>/dev/null; do sleep 0.05; done
done

call() { # call PORT PATH BODY
    curl -sS --fail "http://127.0.0.1:$1/$2" -H "X-Service-Auth: $INTERNAL_SERVICE_TOKEN" -H 'Content-Type: application/json' -d "$3"
}
field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
# One value of 64 bytes under one DEK, that all of them know.
encrypted_dek=$(call $fsync generate-dek '{"projectId":"bench"}' | field encryptedDEK)
dek=$(call $fsync decrypt-dek "{\"projectId\":\"bench\",\"encryptedDEK\":\"$encrypted_dek\"}" | field dek)
for at in $os $policies; do
    call $at decrypt-dek "{\"projectId\":\"bench\",\"encryptedDEK\":\"$encrypted_dek\"}" >/dev/null
done
value=$(head -c 48 /dev/urandom | base64 -w0)
encrypted=$(call $fsync encrypt "{\"projectId\":\"bench\",\"value\":\"$value\"}" | field encrypted)
body="{\"encrypted\":\"$encrypted\",\"dek\":\"$dek\"}"
for at in $fsync $os $policies $seed; do
    [ "$(call $at decrypt-value "$body" | field value)" = "$value" ] || { echo "port $at does not decrypt"; exit 1; }
done
cat >"$work/post.lua" <<EOF
wrk.method = "POST"
wrk.body = [[$body]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Service-Auth"] = "$INTERNAL_SERVICE_TOKEN"
EOF
load() { # load PORT CONNECTIONS → requests per second, or nothing if any answer was no success
    local said
    said=$(wrk -t1 -c"$2" -d"${seconds}s" -s "$work/post.lua" "http://127.0.0.1:$1/decrypt-value")
    if grep -q 'Non-2xx\|Socket errors' <<<"$said"; then echo "$said" >&2; return 1; fi
    awk '/Requests\/sec/ {print $2}' <<<"$said"
}
for at in $fsync $os $policies $seed $echo; do load $at 32 >/dev/null; done
for connections in 1 32 256; do
    for _ in $(seq "$pairs"); do
        for server in $servers; do
            echo "$connections $server $(load "${!server}" $connections)"
        done
    done
done >"$work/figures"
python3 - "$work/figures" <<'EOF'
import collections, statistics, sys
figures = collections.defaultdict(list)
for line in open(sys.argv[1]):
    connections, server, rate = line.split()
    figures[int(connections), server].append(float(rate))
names = {'fsync': 'codec, journal fsynced', 'os': 'codec, durability "os"',
         'policies': 'the same, two policies', 'seed': 'Node service, no audit', 'echo': 'bare axum echo'}
print('/decrypt-value, requests per second: minimum, median, maximum; ratio of medians pair by pair')
for connections in sorted({c for c, _ in figures}):
    print(f'\n{connections} connections')
    for server, name in names.items():
        rates = figures[connections, server]
        against = lambda other: statistics.median(a / b for a, b in zip(rates, figures[connections, other]))
        print(f'  {name:26}{min(rates):>9.0f}{statistics.median(rates):>9.0f}{max(rates):>9.0f}'
              f'   {against("seed"):5.2f} x Node   {against("echo"):5.2f} x echo'
              + (f'   {against("os"):5.2f} x without policies' if server == 'policies' else ''))
EOF
