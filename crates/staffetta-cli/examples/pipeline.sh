#!/usr/bin/env bash
# A pipeline of the shell over channels: a sensor, a filter and a plotter, each a process of its own.
#
#   sensor --(lab/raw)--> filter --(lab/filtered)--> plotter
#
# Messages are lines of JSON at both ends, typed values of the domain in between: whatever is no message of the
# channel's type is refused with the line and the field. Nobody has to be started first, and when the plotter is
# slow the sensor waits.
#
#   crates/staffetta-cli/examples/pipeline.sh [DOMAIN]
set -euo pipefail
staffetta=${STAFFETTA:-staffetta}
domain=${1:-lab}
command -v "$staffetta" >/dev/null || {
    echo "no program $staffetta: cargo install --path crates/staffetta-cli, or STAFFETTA=target/release/staffetta $0" >&2
    exit 127
}

# What a C or Rust program would call struct Sample { n: u32, value: f32 }.
sample='"lab::Sample@1" 8/4 {n@0 4/4 u32, value@4 4/4 f32}'

sensor() {
    seq 0 9 | awk '{ printf "{\"n\": %d, \"value\": %.2f}\n", $1, ($1 % 3) / 4 }' |
        "$staffetta" send "$domain/raw" --layout "$sample" --degree 2
}

filter() {
    "$staffetta" recv "$domain/raw" --consume --wait --type lab::Sample |
        grep -v '"value":0.0' |
        "$staffetta" send "$domain/filtered" --layout "$sample" --degree 2
}

plotter() {
    "$staffetta" recv "$domain/filtered" --consume --wait |
        sed 's/.*"n":\([0-9]*\),"value":\([0-9.]*\).*/\1 \2/' |
        while read -r n value; do
            printf 'sample %s: ' "$n"
            awk -v value="$value" 'BEGIN { for (i = 0; i < value * 20; i++) printf "*"; print "" }'
        done
}

sensor &
filter &
plotter
wait
