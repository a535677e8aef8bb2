//! What a person would do in the operator's place, to the letter.

use serde_json::json;

use super::draft::Draft;
use super::knob::{Entry, Wanted};
use super::record::List;
use crate::api::conditions::MAX_MESSAGE;
use crate::observed::Workload;

/// The lines for the manifest, and the command that makes the same change to the running object, ready for a shell; the lines alone where that
/// is too long for a status.
pub fn command(draft: &Draft<'_>, workload: &Workload, lines: &str) -> String {
    let patch = json!(draft.changes()).to_string().replace('\'', r"'\''");
    let command = format!(
        "kubectl patch {} {} -n {} --type=json -p '{patch}'",
        workload.kind.resource(),
        workload.name(),
        workload.metadata.namespace.as_deref().unwrap_or_default(),
    );
    let both = format!("{lines}. To try it on what runs: {command}");
    if both.len() + 64 < MAX_MESSAGE {
        both
    } else {
        lines.to_owned()
    }
}

/// The lines that belong into the owner's manifest.
pub fn lines(wanted: &Wanted, container: &str, list: Option<List>) -> String {
    let items: Vec<String> = wanted
        .entries
        .iter()
        .flat_map(|entry| match entry {
            Entry::Variable { name, value } => vec![format!("{{name: {name}, value: {value:?}}}")],
            Entry::Arguments(group) => group.iter().map(|word| format!("{word:?}")).collect(),
            Entry::Pair { key, value, .. } => vec![format!("{key}={value}")],
        })
        .collect();
    let field = match (wanted.entries.first(), list) {
        (Some(Entry::Variable { .. }), _) => "env",
        (_, Some(List::Command)) => "command",
        _ => "args",
    };
    if let Some(Entry::Pair { flag, .. }) = wanted.entries.first() {
        return format!(
            "put into the manifest, in container {container} under {field}, into the list of {flag}: {}",
            items.join(",")
        );
    }
    format!(
        "put into the manifest, in container {container} under {field}: [{}]",
        items.join(", ")
    )
}
