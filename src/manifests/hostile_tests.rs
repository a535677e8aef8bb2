//! What the corpus becomes by mutation: a short form of what `make fuzz` does for longer, the same each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::findings::ask;

/// Of each file.
const MUTANTS: usize = 12;
/// Far above what any takes; twenty files of the corpus are read in a hundredth of it.
const SLOWEST: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits {
    file_bytes: 1 << 16,
    all_bytes: 1 << 20,
    files: 10,
    documents: 100,
    depth: 64,
    weight: 1 << 18,
};
/// What YAML, manifests and our own reader hold special.
const WORDS: [&str; 32] = [
    "&a ",
    "*a",
    "<<: *a",
    "<<: [*a, *a]",
    "---\n",
    "...\n",
    "|\n",
    ">-\n",
    "!!str ",
    "!!binary ",
    "? ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "'",
    "\"",
    "#",
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{85}",
    "~",
    ".inf",
    "0x7fffffffffffffff",
    "-1",
    "99999999999999999999",
    "{{ .Values.a }}",
    "kind: List\nitems: ",
    "%YAML 1.1\n",
];

/// Numbers that come out the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (most.max(1) as u64)).unwrap()
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = ["tests/corpus", "tests/corpus/rules", "config/samples"];
    let listed = directories
        .iter()
        .flat_map(|own| fs::read_dir(root.join(own)).unwrap());
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|own| own == "yaml"));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A few changes, each small or by a piece of another file.
fn mutant(dice: &mut Dice, text: &[u8], other: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(text.len() + 1);
        let end = (at + dice.below(200)).min(text.len());
        match dice.below(6) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => text[at..end].fill(u8::try_from(dice.below(256)).unwrap()),
            3 => {
                let piece = text[at..end].repeat(1 + dice.below(40));
                text.splice(at..at, piece);
            }
            4 => {
                let from = dice.below(other.len());
                let to = (from + dice.below(400)).min(other.len());
                text.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let word = WORDS[dice.below(WORDS.len())];
                text.splice(at..at, word.bytes());
            }
        }
    }
    text
}

/// Whatever is in a file: no panic, nothing larger than the limits, lines that there are, and an end.
fn bear(bytes: &[u8]) -> bool {
    let file: Rc<str> = "f".into();
    let mut objects = Objects::default();
    let told = read(bytes, &LIMITS, |node| {
        assert!(node.weight <= LIMITS.weight && node.height <= LIMITS.depth);
        objects.add(&file, node, "default");
    });
    for backend in backends(&objects) {
        for seen in ask(&backend.observed)
            .found
            .into_iter()
            .flat_map(|(_, seen)| seen)
        {
            let (_, line) = backend.locate(&seen.place);
            assert!(line <= bytes.len() + 1);
        }
        let _ = fix(&backend, true);
    }
    told.is_ok()
}

#[test]
fn mutants_of_the_corpus_are_borne() {
    let corpus = corpus();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut good, mut all) = (0, 0);
    for text in &corpus {
        for _ in 0..MUTANTS {
            let other = &corpus[dice.below(corpus.len())];
            let mutant = mutant(&mut dice, text, other);
            let began = Instant::now();
            good += usize::from(bear(&mutant));
            let took = began.elapsed();
            assert!(
                took < SLOWEST,
                "{took:?} for {}",
                String::from_utf8_lossy(&mutant)
            );
            all += 1;
        }
    }
    // Neither are all refused at their first byte, nor do the mutations change nothing that matters.
    assert!(
        all > 1000 && good > all / 20 && good < all * 19 / 20,
        "{good} of {all} can be read"
    );
}
