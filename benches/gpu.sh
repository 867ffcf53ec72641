#!/bin/sh
# Checks and measures a GPU with nothing but the built program:
#
#     sh benches/gpu.sh [KILN [FOLDER]]
#
# KILN is the program (./target/release/kiln by default), FOLDER where gpu.json and gpu.md are written (the
# current one). KILN_DEVICE names the adapter (`gpu`, the best one), GPU_SECONDS the time for all of it (450).
# What fails or takes too long is recorded, and the rest goes on; the exit status is 1 where a part failed.

kiln=${1:-./target/release/kiln}
folder=${2:-.}
budget=${GPU_SECONDS:-450}
KILN_DEVICE=${KILN_DEVICE:-gpu}
export KILN_DEVICE
command -v "$kiln" >/dev/null || { echo "no program $kiln: cargo build --release" >&2; exit 2; }
mkdir -p "$folder" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
# On macOS GNU's programs have a `g` before their names; without either no part is stopped.
limit=$(command -v timeout || command -v gtimeout)
start=$(date +%s)
failed=0

elapsed() { echo $(($(date +%s) - start)); }

# A file of JSON lines as the elements of an array.
elements() { sed '$!s/$/,/' "$1"; }

# text FILE: its last 2,000 bytes as a JSON string.
text() { printf '"%s"' "$(tail -c 2000 "$1" | tr '\t\r\n' '   ' | tr -cd '[:print:]' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# part SECONDS ARGUMENTS: runs the program with a limit, which the time left for all bounds; sets `status`,
# leaves the output in $work/out, and what it is in $work/part.
part() {
    left=$((budget - $(elapsed)))
    seconds=$1
    shift
    [ "$left" -lt "$seconds" ] && seconds=$left
    : >"$work/out"
    : >"$work/err"
    begin=$(date +%s)
    if [ "$seconds" -le 0 ]; then
        status="no time left"
    else
        ${limit:+"$limit" "$seconds"} "$kiln" "$@" >"$work/out" 2>"$work/err"
        code=$?
        case $code in
            0) status=ok ;;
            124) status="stopped after $seconds s" ;;
            *) status="failed with $code" ;;
        esac
    fi
    [ "$status" = ok ] || failed=1
    echo "$(elapsed) s: $*: $status" >&2
    printf '{"part":"%s","status":"%s","seconds":%s,"error":%s' \
        "$*" "$status" $(($(date +%s) - begin)) "$(text "$work/err")" >"$work/part"
}

# measure SECONDS ARGUMENTS: a benchmark whose rows go to both files.
measure() {
    seconds=$1
    shift
    part "$seconds" bench "$@" --json
    # A row that was cut off when the program was stopped is none.
    grep '}$' "$work/out" >"$work/rows"
    { cat "$work/part"; printf ',"rows":['; elements "$work/rows"; echo ']}'; } | tr -d '\n' >>"$work/parts"
    echo >>"$work/parts"
    {
        printf '\n### `kiln bench %s`\n\n' "$*"
        if [ "$status" != ok ]; then printf '%s %s\n\n' "$status" "$(tail -n 3 "$work/err")"; fi
        if [ -s "$work/rows" ]; then
            echo '| measured | value | unit |'
            echo '|---|---:|---|'
            grep -v '"unit":"count"' "$work/rows" | sed \
                's/.*"workload":"\([^"]*\)","metric":"\([^"]*\)","value":\([^,]*\),"unit":"\([^"]*\)".*/|\1 \2|\3|\4/' |
                awk -F '|' '{ printf "|%s| %.3f | %s |\n", $2, $3, $4 }'
        fi
    } >>"$work/tables"
}

: >"$work/parts"
: >"$work/tables"

part 150 doctor --json
cp "$work/out" "$work/doctor"
doctor_status=$status
cp "$work/part" "$work/doctor_part"

measure 20 peak
measure 30 w1
for size in 4096 8192; do measure 20 w1 --size $size; done
for size in 2048 4096 8192; do measure 20 w1 --size $size --dtype f16; done
measure 20 w2
measure 20 w3
for workload in w4 w5; do
    for batch in 64 128 512; do
        measure 25 $workload --batch-size $batch
        measure 25 $workload --batch-size $batch --autocast
    done
done
measure 20 w6
measure 20 w6 --autocast
measure 20 w7lstm
measure 20 w7attn

# The operations of ResNet-18's training steps, the slowest first; each is waited for.
KILN_PROFILE="$work/trace"
export KILN_PROFILE
part 40 bench w5 --json
unset KILN_PROFILE
touch "$work/trace"
sed -n 's/.*"dur":\([0-9.]*\),"name":"\([^"]*\)".*/\1 \2/p' "$work/trace" |
    awk '{ time[$2] += $1; calls[$2]++; all += $1 }
         END { for (name in time) printf "%.3f %d %.4f %s\n", time[name] / 1e3, calls[name], time[name] / all, name }' |
    sort -rn >"$work/profile"
awk '{ printf "{\"name\":\"%s\",\"calls\":%d,\"ms\":%s,\"share\":%s}\n", $4, $2, $1, $3 }' "$work/profile" >"$work/rows"
{ cat "$work/part"; printf ',"operations":['; elements "$work/rows"; echo ']}'; } | tr -d '\n' >"$work/profile_part"

# What was measured of tiles, by all programs so far: KILN_TUNE=0 and the like leave no file.
tuned=${XDG_CACHE_HOME:-$HOME/.cache}/kiln/variants.json
cat "$tuned" >"$work/tuned" 2>"$work/err" || echo '{}' >"$work/tuned"

{
    printf '{"seconds":%s,"date":"%s","system":"%s",\n' "$(elapsed)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(uname -sm)"
    printf '"doctor":'
    cat "$work/doctor_part"
    # Only what ran to its end is an object.
    if grep -q '^}' "$work/doctor"; then printf ',"report":'; cat "$work/doctor"; fi
    printf '},\n"profile":'
    cat "$work/profile_part"
    printf ',\n"tuned":'
    cat "$work/tuned"
    printf ',\n"parts":[\n'
    elements "$work/parts"
    printf ']}\n'
} >"$folder/gpu.json"
{
    printf '# Kiln on a GPU\n\n%s, %s s, %s\n\n```\n' "$(date -u +%Y-%m-%d)" "$(elapsed)" "$(uname -sm)"
    "$kiln" devices
    printf '```\n\n`kiln doctor`: %s\n' "$doctor_status"
    grep -q '"passed": false' "$work/doctor" && sed -n 's/^ *"message": /- /p' "$work/doctor"
    printf '\n## Benchmarks\n'
    cat "$work/tables"
    printf '\n## Tiles measured\n\n```\n'
    cat "$work/tuned"
    printf '\n```\n'
    printf '\n## Where the time of w5 goes\n\n| operation | calls | ms | share |\n|---|---:|---:|---:|\n'
    head -n 25 "$work/profile" | awk '{ printf "| %s | %d | %s | %.1f %% |\n", $4, $2, $1, 100 * $3 }'
} >"$folder/gpu.md"
echo "written in $(elapsed) s: $folder/gpu.json $folder/gpu.md" >&2
exit $failed
