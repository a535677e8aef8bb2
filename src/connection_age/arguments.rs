//! Command lines: which flag is given, in whatever spelling, and whether a shell reads it.

/// A flag as it stands in a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// Its value, where it has one.
    pub value: Option<String>,
    /// The spelling.
    pub text: String,
}

/// A flag's name without dashes and value. `_` counts as `-`: many parsers take both, and one flag given twice is fatal in some servers.
pub fn name(word: &str) -> String {
    let bare = word
        .strip_prefix("--")
        .or_else(|| word.strip_prefix('-'))
        .unwrap_or(word);
    let end = bare
        .find(|c: char| c == '=' || c.is_whitespace())
        .unwrap_or(bare.len());
    bare[..end].replace('_', "-")
}

/// Where `flag` is given among `words`: with one dash or two, the value after `=`, after a space, or as the next word.
pub fn find(words: &[&String], flag: &str, takes_value: bool) -> Option<Given> {
    let wanted = name(flag);
    let at = words
        .iter()
        .position(|word| word.starts_with('-') && name(word) == wanted)?;
    let word = words[at];
    let attached = word
        .split_once(|c: char| c == '=' || c.is_whitespace())
        .map(|(_, value)| value.trim().to_owned());
    let next = words.get(at + 1).map(|next| (*next).clone());
    let (value, text) = match (attached, next) {
        (None, Some(next)) if takes_value => (Some(next.clone()), format!("{word} {next}")),
        (attached, _) => (attached, word.clone()),
    };
    Some(Given {
        value,
        text: super::short(&text),
    })
}

/// Whether a shell runs a script from these words: what is appended would become the script's arguments, not the server's.
pub fn in_shell<'a>(words: impl IntoIterator<Item = &'a String>) -> bool {
    let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
    words.iter().enumerate().any(|(at, word)| {
        let program = word.rsplit('/').next().unwrap_or_default();
        matches!(program, "sh" | "bash" | "ash" | "dash" | "zsh" | "ksh")
            && words[at + 1..]
                .iter()
                .take_while(|option| option.starts_with('-'))
                .any(|option| !option.starts_with("--") && option.contains('c'))
    })
}

/// Where `group` stands in `list`, one word after the other; the last place, since appended words come late.
pub fn position(list: &[String], group: &[String]) -> Option<usize> {
    if group.is_empty() {
        return None;
    }
    list.windows(group.len()).rposition(|words| words == group)
}
