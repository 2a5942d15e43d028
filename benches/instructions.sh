#!/usr/bin/env bash
# Counts the instructions of each operation of a ring (32 bytes, one process, owned handles) with
# valgrind's callgrind, and compares them with instructions.txt. Fails where one takes over 5 % more.
#
#   benches/instructions.sh            compares
#   benches/instructions.sh --update   writes the counts down as the new baseline
#
# Counts do not depend on how busy or how fast the machine is, but on the compiler: the baseline says
# which it was, and with another the comparison is skipped, loudly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
baseline=instructions.txt
limit=5

if ! command -v valgrind >/dev/null || ! command -v callgrind_annotate >/dev/null; then
    echo "instructions: SKIPPED: valgrind is not installed" >&2
    exit 0
fi

compiler="$(rustc --version) $(rustc -vV | sed -n 's/^host: //p')"
program="$(cargo build --release --quiet -p ringway-bench --example instructions \
    --message-format json | sed -n 's/.*"executable":"\([^"]*instructions\)".*/\1/p')"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

operations="$(valgrind --tool=callgrind --callgrind-out-file="$work/out" --log-file="$work/log" \
    "$program")" || { cat "$work/log" >&2; exit 1; }
callgrind_annotate --inclusive=yes --threshold=100 "$work/out" >"$work/functions" 2>"$work/log"

for function in {spsc,mpmc}::counted_{put,get,reserve,get_with,put_many,hold_many,get_many_with,lease_many}; do
    # "1,234,567 (12.3%)  file:instructions::spsc::counted_put [program]"
    count="$(sed -n "s/^ *\([0-9,]*\) .*instructions::$function \[.*/\1/p" "$work/functions" |
        head -n 1 | tr -d ,)"
    if [ -z "$count" ]; then
        echo "instructions: callgrind did not see $function" >&2
        exit 1
    fi
    echo "${function/counted_/} $(((count * 10 + operations / 2) / operations))"
done | awk '{ printf "%s %.1f\n", $1, $2 / 10 }' >"$work/counts"

if [ "${1:-}" = --update ]; then
    { echo "# Instructions per packet, 32 bytes; written by instructions.sh --update"
      echo "# $compiler"
      cat "$work/counts"; } >"$baseline"
    cat "$baseline"
    exit 0
fi

if ! grep -qxF "# $compiler" "$baseline"; then
    cat "$work/counts"
    echo "instructions: COMPARISON SKIPPED: the baseline is of another compiler:" >&2
    sed -n 2p "$baseline" >&2
    exit 0
fi
awk -v limit="$limit" '
    /^#/ { next }
    FNR == NR { before[$1] = $2; next }
    {
        change = ($1 in before) ? 100 * ($2 / before[$1] - 1) : 100
        verdict = change > limit ? "WORSE" : change < -limit ? "better: update the baseline" : ""
        printf "%-20s %8.1f  was %8.1f  %+6.1f %%  %s\n", $1, $2, before[$1], change, verdict
        if (change > limit) failed = 1
    }
    END { exit failed }
' "$baseline" "$work/counts" || { echo "instructions: FAILED: over $limit % more" >&2; exit 1; }
