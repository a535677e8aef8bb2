//! What the API server takes as labels, wherever the spec has some.

use kube::core::Rule;

/// The names of labels and annotations, with a prefix of 253 characters, as far as a rule on names of any length may cost.
pub(super) const NAMES: &str = "self.all(k, size(k) <= 317)";

/// Of the names of labels.
pub(super) fn names() -> Rule {
    Rule::new(NAMES).message("the name of a label has at most 317 characters")
}

/// Of their values, which are bounded.
pub(super) fn values() -> Rule {
    Rule::new("self.all(k, self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))").message("a label's value is letters, digits, '-', '_' and '.', beginning and ending with a letter or digit")
}
