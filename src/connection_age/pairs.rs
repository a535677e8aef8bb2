//! A flag whose value is a list of `key=value`, separated by commas: what it holds, what goes in, and how it comes out again.

use std::ops::Range;

use super::arguments::name;

/// What the flag says of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Held {
    /// Nothing: the flag is not given, or without this key.
    Absent,
    /// This value.
    Value(String),
    /// Something that cannot be read or extended, as a person would say it.
    Unclear(String),
}

/// One occurrence of a flag in a list of words.
#[derive(Clone, Copy, Debug)]
struct Spot {
    word: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `--flag=value`.
    Attached,
    /// `--flag`, `value`.
    Next,
    /// In no way that a list could be read from.
    Other,
}

impl Spot {
    fn value<'a>(&self, words: &'a [String]) -> Option<&'a str> {
        let value = match self.form {
            Form::Attached => words[self.word].split_once('=')?.1,
            Form::Next => words.get(self.word + 1)?,
            Form::Other => return None,
        };
        // Quotes are part of the text, and a variable may hold anything.
        let plain = !value.contains(['"', '\'']) && !value.contains("$(");
        plain.then_some(value)
    }

    fn set(&self, words: &mut [String], value: &str) {
        if self.form == Form::Next {
            value.clone_into(&mut words[self.word + 1]);
        } else if let Some((flag, _)) = words[self.word].split_once('=') {
            words[self.word] = format!("{flag}={value}");
        }
    }

    /// The words that are its own: of those beside them anything may be said, and nothing told.
    fn words(&self) -> Range<usize> {
        let count = if self.form == Form::Next { 2 } else { 1 };
        self.word..self.word + count
    }
}

fn spots(words: &[String], flag: &str) -> Vec<Spot> {
    let wanted = name(flag);
    let given = |word: &String| word.starts_with('-') && name(word) == wanted;
    let form = |at: usize| {
        let word: &String = &words[at];
        match word.chars().find(|c| *c == '=' || c.is_whitespace()) {
            Some('=') => Form::Attached,
            None if words.get(at + 1).is_some_and(|next| !next.starts_with('-')) => Form::Next,
            _ => Form::Other,
        }
    };
    (0..words.len())
        .filter(|at| given(&words[*at]))
        .map(|word| Spot {
            word,
            form: form(word),
        })
        .collect()
}

/// An empty value is an empty list, and not a list of one empty entry.
fn entries(value: &str) -> Vec<&str> {
    if value.is_empty() {
        Vec::new()
    } else {
        value.split(',').collect()
    }
}

/// What the flag says of `key`, in either list of a container.
pub fn find(command: &[String], args: &[String], flag: &str, key: &str) -> Held {
    let mut all = [command, args].into_iter().flat_map(|words| {
        spots(words, flag)
            .into_iter()
            .map(move |spot| (words, spot))
    });
    let Some((words, spot)) = all.next() else {
        return Held::Absent;
    };
    if all.next().is_some() {
        return Held::Unclear(format!("{flag}, twice"));
    }
    let Some(value) = spot.value(words) else {
        return Held::Unclear(super::short(&words[spot.words()].join(" ")));
    };
    let mut values = entries(value).into_iter().filter_map(|entry| {
        let (own, value) = entry.split_once('=').unwrap_or((entry, ""));
        (own.trim() == key).then(|| value.trim().to_owned())
    });
    match (values.next(), values.next()) {
        (None, _) => Held::Absent,
        (Some(value), None) => Held::Value(value),
        (Some(_), Some(_)) => Held::Unclear(format!("{key} in {flag}, twice")),
    }
}

/// Whether the flag is written among `words`.
pub fn is_given(words: &[String], flag: &str) -> bool {
    !spots(words, flag).is_empty()
}

/// Whether the flag is given among `words`, and then whether with an empty list.
pub fn is_empty(words: &[String], flag: &str) -> Option<bool> {
    let spot = *spots(words, flag).first()?;
    Some(spot.value(words).is_some_and(str::is_empty))
}

/// Adds an entry to the flag's list, or the flag where it is not given.
pub fn insert(words: &mut Vec<String>, flag: &str, key: &str, value: &str, separate: bool) {
    let entry = format!("{key}={value}");
    let Some((spot, old)) = spots(words, flag)
        .first()
        .and_then(|spot| Some((*spot, spot.value(words)?.to_owned())))
    else {
        if separate {
            words.extend([flag.to_owned(), entry]);
        } else {
            words.push(format!("{flag}={entry}"));
        }
        return;
    };
    let mut all = entries(&old);
    all.push(&entry);
    spot.set(words, &all.join(","));
}

/// Takes exactly this entry out of the flag's list; the flag goes with its last entry, unless it was there without any.
pub fn remove(words: &mut Vec<String>, flag: &str, key: &str, value: &str, keep_flag: bool) {
    let entry = format!("{key}={value}");
    for spot in spots(words, flag).into_iter().rev() {
        let Some(old) = spot.value(words).map(str::to_owned) else {
            continue;
        };
        let mut all = entries(&old);
        let Some(at) = all.iter().rposition(|own| *own == entry) else {
            continue;
        };
        all.remove(at);
        if all.is_empty() && !keep_flag {
            words.drain(spot.words());
        } else {
            spot.set(words, &all.join(","));
        }
        return;
    }
}
