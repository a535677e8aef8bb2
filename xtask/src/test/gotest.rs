//! What `go test -json` prints.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tally::Tally;

/// Reads the events of one module.
#[derive(Default)]
pub struct Reader {
    tally: Tally,
    /// What each test said so far, by package and test; the package itself has no test.
    said: BTreeMap<(String, String), Vec<String>>,
    /// Packages of which a test failed: their own failure is not one more.
    failed_packages: Vec<String>,
}

impl Reader {
    /// Takes one line; returns what is worth showing of it.
    pub fn line(&mut self, line: &str) -> Option<String> {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return Some(format!("{line}\n"));
        };
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (package, test) = (field("Package"), field("Test"));
        // A test within a test is counted with the outer one, and speaks as it.
        let (outer, inner) = test.split_once('/').unwrap_or((test.as_str(), ""));
        let key = (package.clone(), outer.to_owned());
        match event["Action"].as_str()? {
            "output" | "build-output" => {
                let output = field("Output");
                self.said
                    .entry(key)
                    .or_default()
                    .push(output.trim_end().to_owned());
                return test.is_empty().then_some(output);
            }
            "pass" if inner.is_empty() && !test.is_empty() => self.tally.passed += 1,
            "skip" if inner.is_empty() && !test.is_empty() => self.tally.ignored += 1,
            "fail" if !test.is_empty() && inner.is_empty() => {
                let said = self.said.remove(&key).unwrap_or_default();
                self.tally.fail(format!("{package} {test}"), said);
                self.failed_packages.push(package);
                return Some(format!("--- FAIL: {test}\n"));
            }
            "fail" if test.is_empty() && !self.failed_packages.contains(&package) => {
                let said = self.said.remove(&key).unwrap_or_default();
                self.tally.fail(package, said);
            }
            _ => {}
        }
        None
    }

    /// The module is through.
    pub fn finish(mut self, success: bool) -> Tally {
        if !success && self.tally.failures.is_empty() {
            self.tally.fail("go test", vec!["see above".into()]);
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], success: bool) -> (Tally, String) {
        let mut reader = Reader::default();
        let shown = lines.iter().filter_map(|line| reader.line(line)).collect();
        (reader.finish(success), shown)
    }

    #[test]
    fn a_test_counts_once_with_the_tests_within_it() {
        let (tally, shown) = read(
            &[
                r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
                r#"{"Action":"output","Package":"p","Test":"TestA/x","Output":"x is 3\n"}"#,
                r#"{"Action":"fail","Package":"p","Test":"TestA/x"}"#,
                r#"{"Action":"fail","Package":"p","Test":"TestA"}"#,
                r#"{"Action":"pass","Package":"p","Test":"TestB"}"#,
                r#"{"Action":"skip","Package":"p","Test":"TestC"}"#,
                r#"{"Action":"output","Package":"p","Output":"FAIL p 0.1s\n"}"#,
                r#"{"Action":"fail","Package":"p"}"#,
            ],
            false,
        );
        assert_eq!((tally.passed, tally.ignored), (1, 1));
        assert_eq!(tally.failures.len(), 1);
        assert_eq!(tally.failures[0].name, "p TestA");
        assert_eq!(tally.failures[0].output, ["x is 3"]);
        assert_eq!(shown, "--- FAIL: TestA\nFAIL p 0.1s\n");
    }

    #[test]
    fn a_package_that_does_not_build_is_a_failure() {
        let (tally, _) = read(&[r#"{"Action":"fail","Package":"p"}"#], false);
        assert_eq!(tally.failures[0].name, "p");
        let (tally, _) = read(&["go: cannot find main module"], false);
        assert_eq!(tally.failures[0].name, "go test");
    }
}
