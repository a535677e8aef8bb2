//! How measuring goes: which cells failed, and when there is no point in going on.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

/// Where so many groups of cells in a row end in an error, it is the cluster, and each further one would wait for minutes.
const IN_A_ROW: usize = 3;

/// What became of cells that are measured with the same servers and clients.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// The names of those that broke a promise.
    pub broken: Vec<String>,
    /// Whether the last of them could not be measured.
    pub in_error: bool,
}

/// All groups so far.
#[derive(Debug, Default)]
pub struct Tally {
    broken: BTreeSet<String>,
    errors: usize,
}

impl Tally {
    /// One more; fails where the next would fail too.
    pub fn take(&mut self, ended: Ended) -> Result<()> {
        self.broken.extend(ended.broken);
        self.errors = if ended.in_error { self.errors + 1 } else { 0 };
        ensure!(
            self.errors < IN_A_ROW,
            "{IN_A_ROW} groups of cells in a row could not be measured: something is wrong with the cluster. What was \
             measured by then is kept, and the same command goes on from there"
        );
        Ok(())
    }

    /// How many cells failed. One that could not be measured at first and then could did not.
    pub fn failed(self, lacking: impl Iterator<Item = String>) -> usize {
        let mut failed = self.broken;
        failed.extend(lacking);
        failed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(broken: &[&str], in_error: bool) -> Ended {
        Ended {
            broken: broken.iter().map(|name| (*name).to_owned()).collect(),
            in_error,
        }
    }

    #[test]
    fn three_errors_in_a_row_are_the_cluster() {
        let ends = |errors: &[bool]| {
            let mut tally = Tally::default();
            let mut taken = errors.iter().map(|error| tally.take(ended(&[], *error)));
            taken.any(|taken| taken.is_err())
        };
        assert!(!ends(&[true, true]));
        assert!(ends(&[false, true, true, true]));
        assert!(!ends(&[true, true, false, true, true]));
        // A promise is broken by clients, not by the cluster.
        let mut tally = Tally::default();
        for name in ["a", "b", "c", "d"] {
            tally.take(ended(&[name], false)).unwrap();
        }
    }

    #[test]
    fn a_cell_fails_once_and_not_where_it_was_measured_after_all() {
        let mut tally = Tally::default();
        tally.take(ended(&[], true)).unwrap();
        tally.take(ended(&["nginx.killed"], false)).unwrap();
        tally.take(ended(&["nginx.killed"], false)).unwrap();
        assert_eq!(tally.failed(std::iter::empty()), 1);

        let mut tally = Tally::default();
        tally.take(ended(&["nginx.killed"], false)).unwrap();
        let lacking = ["nginx.killed", "nginx.idle"].map(str::to_owned);
        assert_eq!(tally.failed(lacking.into_iter()), 2);
    }
}
