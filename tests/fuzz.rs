//! What the corpora become by mutation: a short form of what `make fuzz` does for longer, by the same code, and the same each time.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "../fuzz/bodies/exposition.rs"]
mod exposition;
#[path = "../fuzz/bodies/manifests.rs"]
mod manifests;

/// Far above what any takes.
const SLOWEST: Duration = Duration::from_secs(10);
/// What YAML, manifests and our own reader of them hold special.
const OF_MANIFESTS: [&str; 32] = [
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
/// What the formats of metrics and our own reader of them hold special.
const OF_PAGES: [&str; 24] = [
    "grpc_server_started_total",
    "grpc_server_handled_total{",
    "grpc_server_handling_seconds_count ",
    "{\"grpc_server_started_total\",",
    "rpc_server_call_duration_seconds_count",
    "grpc_service=\"",
    "grpc.health.v1.Health",
    "{",
    "}",
    "\"",
    "\\",
    "\\n",
    "=",
    ",",
    " ",
    "\n",
    "\r",
    "NaN",
    "-1",
    "1e308",
    "+Inf 1e9",
    " # {trace_id=\"a\"} 1 1",
    "# TYPE grpc_server_started counter\n",
    "# EOF\n",
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

/// What the files of these directories have in them, in the order of their names.
fn files(directories: &[&str], endings: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = directories
        .iter()
        .flat_map(|own| fs::read_dir(root.join(own)).unwrap());
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    let is_wanted = |ending: &str| endings.contains(&ending);
    paths.retain(|path| {
        path.extension()
            .is_some_and(|own| is_wanted(own.to_str().unwrap()))
    });
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A few changes, each small or by a piece of another file.
fn mutant(dice: &mut Dice, text: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
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
                let word = words[dice.below(words.len())];
                text.splice(at..at, word.bytes());
            }
        }
    }
    text
}

/// So many mutants of each text, each made an input by `input`.
fn borne(
    corpus: &[Vec<u8>],
    words: &[&str],
    mutants: usize,
    input: impl Fn(&mut Dice, Vec<u8>) -> Vec<u8>,
    bear: fn(&[u8]) -> bool,
) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut good, mut all) = (0, 0);
    for text in corpus {
        for _ in 0..mutants {
            let other = &corpus[dice.below(corpus.len())];
            let mutant = mutant(&mut dice, text, other, words);
            let input = input(&mut dice, mutant);
            let began = Instant::now();
            good += usize::from(bear(&input));
            let took = began.elapsed();
            let shown = || String::from_utf8_lossy(&input).into_owned();
            assert!(took < SLOWEST, "{took:?} for {}", shown());
            all += 1;
        }
    }
    // Neither are all refused at their first byte, nor do the mutations change nothing that matters.
    assert!(
        all > 1000 && good > all / 20 && good < all * 19 / 20,
        "{good} of {all} can be read"
    );
}

#[test]
fn mutants_of_manifests_are_borne() {
    let directories = ["tests/corpus", "tests/corpus/rules", "config/samples"];
    let corpus = files(&directories, &["yaml"]);
    borne(
        &corpus,
        &OF_MANIFESTS,
        12,
        |_, mutant| mutant,
        manifests::bear,
    );
}

#[test]
fn mutants_of_metrics_pages_are_borne() {
    let corpus = files(&["src/balance/exposition/corpus"], &["txt", "om"]);
    let input = |dice: &mut Dice, mutant: Vec<u8>| {
        let choice = u8::try_from(dice.below(256)).unwrap();
        let is_packed = choice & 2 != 0;
        let body = if is_packed { gzip(&mutant) } else { mutant };
        [&[choice][..], &body].concat()
    };
    borne(&corpus, &OF_PAGES, 300, input, exposition::bear);
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}
