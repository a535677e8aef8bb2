//! Where something in our data was read.

use serde::{Deserialize, Serialize};

/// So that whoever doubts it can look.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The project.
    pub project: String,
    /// The file, the page or the thread.
    pub file: String,
    /// Which version or commit, or when.
    pub seen: String,
}
