//! What passed and what failed, and how it is told at the end.

use std::fmt::Write as _;
use std::time::Duration;

/// The outcome of a phase.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    pub ignored: usize,
    pub failures: Vec<Failure>,
    /// Passed, but only at the second look.
    pub unstable: Vec<String>,
}

/// A test that failed, and the last that it said.
#[derive(Debug)]
pub struct Failure {
    pub name: String,
    pub output: Vec<String>,
}

/// Enough to see what went wrong; the whole output stands further up.
const MAX_LINES: usize = 40;

impl Tally {
    /// For what could not even be run.
    pub fn one_failure(name: &str, why: &str) -> Self {
        let mut tally = Self::default();
        tally.fail(name, vec![why.to_owned()]);
        tally
    }

    /// Notes a failure with what it said.
    pub fn fail(&mut self, name: impl Into<String>, mut output: Vec<String>) {
        if output.len() > MAX_LINES {
            output.drain(..output.len() - MAX_LINES);
        }
        self.failures.push(Failure {
            name: name.into(),
            output,
        });
    }

    /// Adds another one up.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.unstable.extend(other.unstable);
    }
}

/// A phase as the table shows it.
pub struct Row {
    pub title: &'static str,
    pub tally: Tally,
    pub took: Duration,
}

impl Row {
    /// The row by itself, for when the phase ends.
    pub fn summary(&self) -> String {
        format!(
            "{}: {} passed, {} failed, {}",
            self.title,
            self.tally.passed,
            self.tally.failures.len(),
            clock(self.took)
        )
    }
}

/// The failures once more, the table, and the line that counts.
pub fn report(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for failure in &row.tally.failures {
            let _ = writeln!(text, "\nFAILED {} ({})", failure.name, row.title);
            for line in &failure.output {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    for name in rows.iter().flat_map(|row| &row.tally.unstable) {
        let _ = writeln!(
            text,
            "\nUNSTABLE {name}: failed, then passed when run again alone. That is a defect: see what it said above, then make flake TEST={name}"
        );
    }
    text.push('\n');
    let mut line = |title: &str, cells: [&str; 4]| {
        let [passed, failed, ignored, time] = cells;
        let _ = writeln!(
            text,
            "{title:<26}{passed:>8}{failed:>8}{ignored:>9}{time:>9}"
        );
    };
    line("phase", ["passed", "failed", "ignored", "time"]);
    for Row { title, tally, took } in rows {
        line(
            title,
            [
                &tally.passed.to_string(),
                &tally.failures.len().to_string(),
                &tally.ignored.to_string(),
                &clock(*took),
            ],
        );
    }
    let passed: usize = rows.iter().map(|row| row.tally.passed).sum();
    let failed: usize = rows.iter().map(|row| row.tally.failures.len()).sum();
    let _ = writeln!(text, "\n{passed} passed, {failed} failed");
    text
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_all_phases() {
        let mut broken = Tally {
            passed: 2,
            ignored: 1,
            ..Tally::default()
        };
        broken.fail("a::b", vec!["left != right".into()]);
        let rows = [
            Row {
                title: "Rust tests",
                tally: broken,
                took: Duration::from_secs(65),
            },
            Row {
                title: "Go tests",
                tally: Tally {
                    passed: 3,
                    ..Tally::default()
                },
                took: Duration::from_secs(4),
            },
        ];
        let text = report(&rows);
        assert_eq!(text.lines().last(), Some("5 passed, 1 failed"));
        assert!(text.contains("FAILED a::b (Rust tests)\n    left != right\n"));
        assert!(text.contains("Rust tests                       2       1        1     1:05\n"));
    }

    #[test]
    fn of_a_long_output_the_end_is_repeated() {
        let mut tally = Tally::default();
        tally.fail("long", (0..100).map(|n| n.to_string()).collect());
        assert_eq!(tally.failures[0].output.len(), MAX_LINES);
        assert_eq!(tally.failures[0].output.last().unwrap(), "99");
    }
}
