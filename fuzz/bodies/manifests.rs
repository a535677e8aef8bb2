//! Whatever a file has in it: no panic, nothing larger than the limits, lines that there are, and the same said of the same.

use std::rc::Rc;

use evenkeel::findings::ask;
use evenkeel::manifests::{Limits, Objects, backends, fix, read};

/// Whether all of it can be read.
pub fn bear(bytes: &[u8]) -> bool {
    let limits = Limits {
        file_bytes: 1 << 16,
        documents: 100,
        weight: 1 << 18,
        ..Limits::default()
    };
    let file: Rc<str> = "f".into();
    let mut objects = Objects::default();
    let told = read(bytes, &limits, |node| {
        assert!(node.weight <= limits.weight && node.height <= limits.depth);
        objects.add(&file, node, "default");
        Ok(())
    });
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .count();
    for backend in backends(&objects) {
        let found = ask(&backend.observed).found;
        for seen in found.into_iter().flat_map(|(_, seen)| seen) {
            let (_, line) = backend.locate(&seen.place);
            assert!((1..=lines).contains(&line), "{line} of {lines}");
        }
        let _ = fix(&backend, true);
    }
    told.is_ok()
}
