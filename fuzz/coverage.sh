#!/bin/sh
# The compiler, as cargo calls it (RUSTC_WRAPPER): what is looked at counts the branches that it takes, for libFuzzer to read. All
# else is compiled as ever. These are the flags of cargo-fuzz, without its address sanitizer, which is what needs a nightly
# compiler: nothing here is unsafe, so that what is looked for is a panic, a wrong answer, or no end.
case " $* " in
*" --crate-name evenkeel "* | *" --crate-name granit_parser "* | *" --crate-name exposition "* | *" --crate-name manifests "*)
	exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
		-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
		-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
	;;
*)
	exec "$@"
	;;
esac
