#!/bin/sh
# A PostgreSQL cluster of our own in DIR on loopback PORT, for as long as standard input stays open.
# Usage: postgres.sh BIN DIR PORT PASSWORD [PRIMARY]
# With the port of a PRIMARY it is a streaming standby of that.
set -eu
bin=$1 dir=$2 port=$3 password=$4 primary=${5-}
# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    as() { runuser -u postgres -- "$@"; }
    install -d -o postgres -g postgres -m 755 "$dir"
    install -o postgres -m 600 /dev/null "$dir/password"
else
    as() { "$@"; }
    mkdir -p "$dir"
    install -m 600 /dev/null "$dir/password"
fi
printf '%s\n' "$password" >"$dir/password"
stop() { as "$bin/pg_ctl" -D "$dir/data" -m immediate -s stop 2>/dev/null || true; rm -rf "$dir"; }
trap stop EXIT
if [ -n "$primary" ]; then
    as env PGPASSWORD="$password" "$bin/pg_basebackup" -h 127.0.0.1 -p "$primary" -U postgres -D "$dir/data" -R -X stream -c fast
else
    as "$bin/initdb" -D "$dir/data" -A scram-sha-256 -U postgres --pwfile="$dir/password" --no-sync -E UTF8 >"$dir/initdb.log"
fi
# A server that is killed loses nothing without fsync: no test has its machine crash.
as "$bin/pg_ctl" -D "$dir/data" -w -s -l "$dir/data/log" \
    -o "-k $dir -c listen_addresses=127.0.0.1 -p $port -c max_connections=200 -c fsync=off" start
echo ready
cat >/dev/null
