//! Command lines: which flag is given, in whatever spelling, and whether a shell reads it.

use std::collections::BTreeMap;
use std::iter::Peekable;

use k8s_openapi::api::core::v1::Container;

/// A flag as it stands in a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// Its value, where it has one.
    pub value: Option<String>,
    /// The spelling.
    pub text: String,
    /// It is given more than once: which one counts depends on the parser.
    pub several: bool,
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

/// Where `flag` is given among `words`: with one dash or two, the value after `=`, after a space, or as the next word. A flag
/// without a value may be given as its opposite too.
pub fn find(words: &[String], flag: &str, takes_value: bool) -> Option<Given> {
    let wanted = name(flag);
    let opposite = |own: &str| {
        let rest = own.strip_prefix("no");
        !takes_value && rest.is_some_and(|rest| rest.strip_prefix('-').unwrap_or(rest) == wanted)
    };
    let is_given = |word: &str| {
        let own = name(word);
        word.starts_with('-') && (own == wanted || opposite(&own))
    };
    let at = words.iter().position(|word| is_given(word))?;
    let several = words[at + 1..].iter().any(|word| is_given(word));
    let word = &words[at];
    if name(word) != wanted {
        return Some(Given {
            value: Some("false".into()),
            text: super::short(word),
            several,
        });
    }
    let attached = word
        .split_once(|c: char| c == '=' || c.is_whitespace())
        .map(|(_, value)| value.trim().to_owned());
    // What begins with a dash is another flag, whose value is nobody's business.
    let next = words.get(at + 1).filter(|next| !next.starts_with('-'));
    let (value, text) = match (attached, next) {
        (None, Some(next)) if takes_value => (Some(next.clone()), format!("{word} {next}")),
        (attached, _) => (attached, word.clone()),
    };
    Some(Given {
        value,
        text: super::short(&text),
        several,
    })
}

/// The words that the program of `container` is started with: `$(NAME)` is replaced where the variable's value stands beside it.
pub fn words(container: &Container) -> Vec<String> {
    let known = known(container);
    let mut room = MOST;
    [&container.command, &container.args]
        .into_iter()
        .flatten()
        .flatten()
        .map(|word| expanded(word, &known, &mut room))
        .collect()
}

/// The variables of `container` whose values stand there; an empty one is left out by the API server.
fn known(container: &Container) -> BTreeMap<&str, &str> {
    let variables = container.env.iter().flatten();
    variables
        .filter(|variable| variable.value_from.is_none() && variable.name.len() <= LONGEST)
        .map(|own| (own.name.as_str(), own.value.as_deref().unwrap_or_default()))
        .collect()
}

/// Variables whose options every Java program takes besides those of its command line.
const JAVA_OPTIONS: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// The options in such variables of `container`, each with the variable's name.
pub fn java_options(container: &Container) -> Vec<(&'static str, Vec<String>)> {
    let known = known(container);
    let mut room = MOST;
    let variables = container.env.iter().flatten();
    let options = variables.filter_map(|variable| {
        let name = JAVA_OPTIONS.into_iter().find(|own| *own == variable.name)?;
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
        let text = expanded(variable.value.as_deref()?, &known, &mut room);
        let words = text.split(ends).filter(|word| !word.is_empty());
        Some((name, words.map(str::to_owned).collect()))
    });
    options.collect()
}

/// What may have such options and is not to be seen: a variable by `valueFrom`, or a reference to one in the place of an option.
pub fn unseen_java_options(container: &Container) -> Option<String> {
    let mut variables = container.env.iter().flatten();
    let elsewhere = variables.find(|variable| {
        variable.value_from.is_some() && JAVA_OPTIONS.contains(&variable.name.as_str())
    });
    if let Some(variable) = elsewhere {
        return Some(format!("{} by valueFrom", variable.name));
    }
    let mut all = java_options(container).into_iter();
    all.find_map(|(variable, options)| {
        let left = options.iter().find(|option| option.starts_with("$("))?;
        // What stands behind it is nobody's business.
        let reference = left.split_inclusive(')').next()?;
        Some(format!("{} in {variable}", super::short(reference)))
    })
}

/// As much as Linux hands to a program, as it comes: with more none is started. A manifest may refer to one long value from everywhere.
const MOST: usize = 2 << 20;

/// Of a variable's name that is looked up, in bytes. Looking costs its length each time, and a manifest may ask for it everywhere.
const LONGEST: usize = 1 << 10;

/// As the kubelet does it: `$$` stands for `$`, and what is not known stays as it is. So does what has no room any more.
fn expanded(word: &str, known: &BTreeMap<&str, &str>, room: &mut usize) -> String {
    let mut text = String::new();
    let mut rest = word;
    // How much is left behind the next bracket that closes. It is looked for once, however many open before it.
    let mut behind = usize::MAX;
    while let Some(at) = rest.find('$') {
        text += &rest[..at];
        rest = &rest[at + 1..];
        if behind >= rest.len() {
            behind = rest.find(')').map_or(0, |at| rest.len() - at);
        }
        let close = rest.len() - behind;
        let named = rest[..close].strip_prefix('(').filter(|_| behind > 0);
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some(name) = named.filter(|name| name.len() <= LONGEST)
            && let Some(value) = known.get(name)
            && let Some(left) = room.checked_sub(value.len())
        {
            *room = left;
            text += value;
            rest = &rest[close + 1..];
        } else {
            text.push('$');
        }
    }
    text + rest
}

/// Whether a shell runs a script from these words: what is appended would become the script's arguments, not the server's.
pub fn in_shell<'a>(words: impl IntoIterator<Item = &'a String>) -> bool {
    let mut words = words.into_iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let program = word.rsplit('/').next().unwrap_or_default();
        if matches!(program, "sh" | "bash" | "ash" | "dash" | "zsh" | "ksh")
            && takes_a_script(&mut words)
        {
            return true;
        }
    }
    false
}

/// Whether `-c` is among the options of a shell, by itself or with others (`-ec`). Those that take a value have it as the next word.
/// Takes the words up to it, or all options: a shell's name among these is a value.
fn takes_a_script<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> bool {
    while let Some(option) = words.next_if(|word| word.starts_with(['-', '+'])) {
        let takes_a_value = if option.starts_with("--") {
            matches!(option, "--rcfile" | "--init-file")
        } else if option.starts_with('-') && option.contains('c') {
            return true;
        } else {
            option.ends_with(['o', 'O'])
        };
        if takes_a_value {
            words.next();
        }
    }
    false
}

/// Where `group` stands in `list`, one word after the other; the last place, since appended words come late.
pub fn position(list: &[String], group: &[String]) -> Option<usize> {
    if group.is_empty() {
        return None;
    }
    list.windows(group.len()).rposition(|words| words == group)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::EnvVar;

    use super::*;

    #[test]
    fn references_make_no_more_than_a_program_is_started_with() {
        let long = EnvVar {
            name: "LONG".into(),
            value: Some("x".repeat(1 << 10)),
            value_from: None,
        };
        let reference = "$(LONG)".repeat(1 << 10);
        let container = Container {
            args: Some(vec![reference.clone(); 4]),
            env: Some(vec![long]),
            ..Container::default()
        };
        let words = words(&container);
        let lengths: Vec<usize> = words.iter().map(String::len).collect();
        let left = reference.len();
        assert_eq!(lengths, [MOST / 2, MOST / 2, left, left]);
    }

    /// As much as the API server takes: with work by the square of it these would not come to an end, and nothing else be done.
    #[test]
    fn manifests_that_are_all_references_or_shells_take_no_time() {
        let size = 1 << 20;
        let named = |name: String| EnvVar {
            name,
            value: Some("value".into()),
            value_from: None,
        };
        let open = "$(".repeat(size / 2);
        let container = Container {
            args: Some(vec![open.clone(), format!("{open}A)")]),
            env: Some(vec![named(open.clone()), named("A".into())]),
            ..Container::default()
        };
        let outermost = &open[..open.len() - 2];
        assert_eq!(
            words(&container),
            [open.clone(), format!("{outermost}value")]
        );
        let shells = vec!["sh".to_owned(), "-o".to_owned()];
        let shells: Vec<_> = shells.into_iter().cycle().take(size / 4).collect();
        assert!(!in_shell(&shells));
        assert!(in_shell(
            shells.iter().chain(["sh", "-c"].map(str::to_owned).iter())
        ));
    }
}
