#!/bin/sh
# Runs a command for as long as standard input stays open: when the tests end, however they end, it ends too.
"$@" </dev/null &
child=$!
trap 'kill "$child" 2>/dev/null' EXIT
cat >/dev/null
