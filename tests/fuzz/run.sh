#!/bin/sh
# Fuzzes one target for FUZZ_SECONDS. What is found new goes to target/fuzz-corpus/TARGET, beside the inputs that are
# kept in corpus/TARGET; what breaks a promise goes to artifacts/TARGET.
set -eu

cd "$(dirname "$0")/../.."
targets=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' tests/fuzz/Cargo.toml | tr '\n' ' ')
target=${1:-}
if [ -z "$target" ]; then
	echo "cannot fuzz: say what, such as make fuzz TARGET=config; there are $targets" >&2
	exit 2
fi
case " $targets" in
*" $target "*) ;;
*)
	echo "cannot fuzz $target: there is no such target; there are $targets" >&2
	exit 2
	;;
esac
if ! cargo +nightly --version >/dev/null 2>&1; then
	echo "cannot fuzz: there is no nightly compiler; run: rustup toolchain install nightly" >&2
	exit 1
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
	echo "cannot fuzz: there is no cargo-fuzz; run: cargo install cargo-fuzz --locked" >&2
	exit 1
fi

found=$PWD/target/fuzz-corpus/$target
mkdir -p "$found"
dictionary=tests/fuzz/dictionaries/$target.dict
options="-max_total_time=${FUZZ_SECONDS:-60} -max_len=4096 -timeout=10 -print_final_stats=1"
if [ -f "$dictionary" ]; then
	options="$options -dict=$PWD/$dictionary"
fi
# Without a sanitizer: the targets call safe code only, and without it they try twice as much.
# shellcheck disable=SC2086
exec cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir "$PWD/target/fuzz" --sanitizer none "$target" \
	"$found" "$PWD/tests/fuzz/corpus/$target" -- $options
