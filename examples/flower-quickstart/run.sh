#!/bin/sh
# The whole federation on this machine: homes, a SuperLink, three SuperNodes, one run, and an audit of what it left.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-build/flower}
set -- ${PORTS:-9292 9293 9294 9295} # of the SuperLink, and of each SuperNode's own processes
port=$1
rm -rf "$work" && mkdir -p "$work/flwr"
work=$(cd "$work" && pwd)
export FLWR_HOME="$work/flwr" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 # what the app needs is installed already

start=$(cd "$here" && python -c 'from quickstart.task import first_model
from secure_agg.fl.model_files import start_digest
print(start_digest(first_model()).hex())')
secure-agg federation init "$work/federation" --start-model "$start" --client ward-a --client ward-b --client ward-c \
    --clip 2.0 --max-weight 1000 --task digits

processes=
trap 'kill $processes 2>/dev/null; wait' EXIT INT TERM
printf '[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:%s"\ninsecure = true\n' "$port" \
    > "$FLWR_HOME/config.toml"
up() { # whatever has ended, because of its port or its home, would be waited for in vain
    for process in $processes; do
        kill -0 "$process" 2> /dev/null || { cat "$work"/*.log >&2; exit 1; }
    done
}
flower-superlink --insecure --host 127.0.0.1 --port "$port" > "$work/superlink.log" 2>&1 &
processes=$!
until flwr ls here > /dev/null 2>&1; do up; done
number=0
for ward in ward-a ward-b ward-c; do
    shift
    flower-supernode --insecure --superlink "127.0.0.1:$port" --host 127.0.0.1 --port "$1" \
        --node-config "partition-id=$number num-partitions=3 secure-agg-home=\"$work/federation/clients/$ward\"" \
        > "$work/$ward.log" 2>&1 &
    processes="$processes $!"
    number=$((number + 1))
done
until [ "$(flwr supernode list here --format json | grep -c '"status": "online"')" = "$number" ]; do up; done

flwr run "$here" here --stream --run-config "home=\"$work/federation/server\""
secure-agg ledger audit "$work/federation/server/rounds.db" --trust "$work/federation/trust.json"
