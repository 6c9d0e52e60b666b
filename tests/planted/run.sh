#!/bin/bash
# Plants each fault of this folder, one at a time, and shows that the simulation finds it.
#
#   tests/planted/run.sh [NAME...]     all of them, or those whose file names hold one of the words
#
# It works on a copy, so that nothing here is touched. SEEDS says how many seeds each fault has.
set -euo pipefail
cd "$(dirname "$0")/../.."

SEEDS="${SEEDS:-6000}"
# Long enough for the seeds; a fault that makes the supervisor turn for ever is found by it too.
LIMIT="${LIMIT:-300}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/planted"
export RUST_BACKTRACE=0

copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
# With new times (-m): what the run before built may hold its last fault, and is newer than the sources.
tar -cf - --exclude=./target --exclude=./.git . | tar -xmf - -C "$copy"
patches="$PWD/tests/planted"

# Everything but the outcome of the seeds is an error here.
simulate() {
    (cd "$copy" && SEED=1 SEEDS="$SEEDS" timeout "$LIMIT" \
        cargo test --locked --test simulation whatever_happens -- --nocapture) >"$copy.log" 2>&1
}

wanted() {
    local word
    [ $# -gt 1 ] || return 0
    for word in "${@:2}"; do
        case "$1" in *"$word"*) return 0 ;; esac
    done
    return 1
}

trap 'rm -rf "$copy" "$copy.log"' EXIT
if ! simulate; then
    tail -n 30 "$copy.log" >&2
    echo "cannot plant anything: the simulation fails as it is; mend that first" >&2
    exit 1
fi

missed=0
count=0
printf '%-46s | %-34s | %s\n' "planted" "caught by" "seed"
for patch in "$patches"/*.patch; do
    name="$(basename "$patch" .patch)"
    wanted "$name" "$@" || continue
    count=$((count + 1))
    if ! (cd "$copy" && git apply "$patch"); then
        printf '%-46s | %s\n' "$name" "DOES NOT APPLY: make the patch anew"
        missed=$((missed + 1))
        continue
    fi
    outcome=0
    simulate || outcome=$?
    found="$(sed -n 's/^seed \([0-9]*\), step [0-9]*: \(I[0-9]* ([^)]*)\).*/\2|\1/p' "$copy.log" | head -n 1)"
    if [ "$outcome" = 0 ]; then
        found="NOT CAUGHT|-"
        missed=$((missed + 1))
    elif grep -q '^error' "$copy.log" && grep -q 'could not compile' "$copy.log"; then
        found="DOES NOT COMPILE|-"
        missed=$((missed + 1))
    elif [ "$outcome" = 124 ]; then
        found="the limit of time|-"
    elif [ -z "$found" ]; then
        found="a panic|$(sed -n 's/^playing seed \([0-9]*\)$/\1/p' "$copy.log" | tail -n 1)"
    fi
    printf '%-46s | %-34s | %s\n' "$name" "${found%|*}" "${found#*|}"
    (cd "$copy" && git apply --reverse "$patch")
done
echo "$((count - missed)) of $count planted faults were caught"
[ "$missed" = 0 ]
