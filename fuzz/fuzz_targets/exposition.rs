#![no_main]

#[path = "../bodies/exposition.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::bear(bytes);
});
