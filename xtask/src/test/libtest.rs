//! What Rust's test programs print: those of the standard harness, and the one for the real cluster.

use super::tally::Tally;

/// Reads the output of `cargo test`.
#[derive(Default)]
pub struct Reader {
    tally: Tally,
    /// Failed tests of the program that runs, with what each said.
    failed: Vec<(String, Vec<String>)>,
    /// Which of them is speaking.
    speaking: Option<usize>,
}

impl Reader {
    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        if let Some(name) = test_that(line, "FAILED") {
            self.failed.push((name.to_owned(), Vec::new()));
        } else if let Some(name) = spoken_by(line) {
            self.speaking = self.failed.iter().position(|(failed, _)| failed == name);
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.result(counts);
        } else if line == "failures:" {
            self.speaking = None;
        } else if let Some((_, said)) = self.speaking.and_then(|index| self.failed.get_mut(index)) {
            said.push(line.to_owned());
        }
    }

    /// One program is through: `ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    fn result(&mut self, counts: &str) {
        self.tally.passed += count(counts, "passed");
        self.tally.ignored += count(counts, "ignored");
        self.speaking = None;
        for (name, said) in self.failed.drain(..) {
            self.tally.fail(name, said);
        }
    }

    /// All programs are through, or `cargo test` gave up.
    pub fn finish(mut self, success: bool) -> Tally {
        // A program that crashed has no result line.
        self.result("");
        if !success && self.tally.failures.is_empty() {
            let why = "did not compile, or a test program crashed: see above";
            self.tally.fail("cargo test", vec![why.to_owned()]);
        }
        self.tally
    }
}

/// Reads the output of the tests on a real cluster.
#[derive(Default)]
pub struct ClusterReader {
    /// Failed tests, with the indented lines that follow each; one that is repeated fails more than once.
    failed: Vec<(String, Vec<String>)>,
    /// Tests that failed and were looked at again.
    again: Vec<String>,
    speaking: bool,
    last: String,
}

impl ClusterReader {
    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        if let Some(name) = test_that(line, "FAILED") {
            self.failed.push((name.to_owned(), Vec::new()));
            self.speaking = true;
        } else if let (true, Some(said), Some((_, lines))) = (
            self.speaking,
            line.strip_prefix("    "),
            self.failed.last_mut(),
        ) {
            lines.push(said.to_owned());
        } else {
            self.speaking = false;
        }
        if let Some(name) = test_that(line, "AGAIN") {
            self.again.push(name.to_owned());
        }
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut self.last);
        }
    }

    /// The program is through; its last line is what counts.
    pub fn finish(self, success: bool) -> Tally {
        let mut tally = Tally::default();
        for (name, said) in self.failed {
            tally.fail(name, said);
        }
        let fails = |name: &String| tally.failures.iter().any(|failure| failure.name == *name);
        tally.unstable = self.again.into_iter().filter(|name| !fails(name)).collect();
        let failed = count(&self.last, "failed");
        let why = if self.last.ends_with(" failed") {
            tally.passed = count(&self.last, "passed");
            let unnamed = failed > tally.failures.len();
            (unnamed || !success && failed == 0).then_some("ended with an error: see above")
        } else {
            Some("did not come to their last line: see above")
        };
        if let Some(why) = why {
            tally.fail("tests on a real cluster", vec![why.to_owned()]);
        }
        tally
    }
}

/// The name in `test NAME ... VERDICT`; a time may follow.
fn test_that<'a>(line: &'a str, verdict: &str) -> Option<&'a str> {
    let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    outcome.starts_with(verdict).then_some(name)
}

/// The name in `---- NAME stdout ----`.
fn spoken_by(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The number before `word`.
fn count(text: &str, word: &str) -> usize {
    text.split([' ', ';', ','])
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PROGRAMS: &str = "
running 2 tests
test a::good ... ok
test a::bad ... FAILED

failures:

---- a::bad stdout ----

thread 'a::bad' panicked at src/a.rs:3:9:
assertion failed

failures:
    a::bad

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 3 tests
test src/lib.rs - f (line 3) ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(text: &str, success: bool) -> Tally {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish(success)
    }

    #[test]
    fn counts_over_programs_and_keeps_what_a_failure_said() {
        let tally = read(TWO_PROGRAMS, false);
        assert_eq!((tally.passed, tally.ignored), (3, 1));
        assert_eq!(tally.failures.len(), 1);
        assert_eq!(tally.failures[0].name, "a::bad");
        assert!(
            tally.failures[0]
                .output
                .contains(&"assertion failed".to_owned())
        );
    }

    #[test]
    fn what_does_not_compile_is_a_failure() {
        assert_eq!(read("", false).failures[0].name, "cargo test");
    }

    fn cluster(text: &str, success: bool) -> Tally {
        let mut reader = ClusterReader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish(success)
    }

    #[test]
    fn the_last_line_of_the_cluster_tests_counts() {
        let text = "test pair ... ok (1.0 s)\ntest age ... FAILED (3.2 s)\n    no reply\n    logs: /l\n\n7 passed, 1 failed\n";
        let tally = cluster(text, false);
        assert_eq!((tally.passed, tally.failures.len()), (7, 1));
        assert_eq!(tally.failures[0].name, "age");
        assert_eq!(tally.failures[0].output, ["no reply", "logs: /l"]);
        assert!(cluster("1 passed, 0 failed\n", true).failures.is_empty());
    }

    #[test]
    fn a_cluster_test_that_passes_at_the_second_look_is_unstable() {
        let text = "test pair ... AGAIN (1.0 s)\n    no reply\ntest age ... AGAIN (3.2 s)\ntest pair ... ok (1.0 s)\ntest age ... FAILED (1.0 s)\n1 passed, 1 failed\n";
        let tally = cluster(text, false);
        assert_eq!(tally.unstable, ["pair"]);
        assert_eq!(tally.failures.len(), 1);
        assert_eq!(tally.failures[0].name, "age");
    }

    #[test]
    fn cluster_tests_that_do_not_come_to_an_end_are_a_failure() {
        for text in [
            "test pair ... ok\n",
            "3 passed, 0 failed\n",
            "0 passed, 1 failed\n",
            "",
        ] {
            assert_eq!(cluster(text, false).failures.len(), 1, "{text}");
        }
    }
}
