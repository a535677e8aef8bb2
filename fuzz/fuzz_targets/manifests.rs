//! Whatever a file has in it: no panic, nothing larger than the limits, and the same said of the same.
#![no_main]

use std::rc::Rc;

use evenkeel::findings::ask;
use evenkeel::manifests::{Limits, Objects, backends, fix, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { file_bytes: 1 << 16, documents: 100, weight: 1 << 20, ..Limits::default() };
    let file: Rc<str> = "f".into();
    let mut objects = Objects::default();
    let _ = read(bytes, &limits, |node| {
        assert!(node.weight <= limits.weight || node.height == 0);
        assert!(node.height <= limits.depth);
        objects.add(&file, node, "default");
    });
    for backend in backends(&objects) {
        for seen in ask(&backend.observed).found.into_iter().flat_map(|(_, seen)| seen) {
            let (_, line) = backend.locate(&seen.place);
            assert!(line <= bytes.len() + 1);
        }
        let _ = fix(&backend, true);
    }
});
