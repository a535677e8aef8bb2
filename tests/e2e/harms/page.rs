//! What was measured, as the page docs/harms.md and as the table in the README.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use evenkeel::findings::CATALOGUE;

use super::{Are, MANIFESTS};
use crate::proof::machine;
use crate::world::root;

const PAGE: &str = "docs/harms.md";
const README: &str = "README.md";
const BEGIN: &str = "<!-- written by `make proof`: harms -->\n";
const END: &str = "<!-- end -->";

/// A scene that was played.
#[derive(Clone)]
pub struct Shown {
    pub id: &'static str,
    /// What is done, and with which client.
    pub done: &'static str,
    /// Where and what `evenkeel check -f` said.
    pub line: u64,
    pub message: String,
    /// What was counted, as the manifests were and once they were mended.
    pub figure: &'static str,
    pub before: u64,
    pub after: u64,
}

/// A figure in its words.
pub fn says(figure: &str, number: u64) -> String {
    figure.replace("{}", &number.to_string())
}

impl Shown {
    fn title(&self) -> &'static str {
        let rule = CATALOGUE.iter().find(|rule| rule.id == self.id);
        rule.map_or("", |rule| rule.title)
    }

    fn was(&self) -> String {
        says(self.figure, self.before)
    }

    fn is(&self) -> String {
        says(self.figure, self.after)
    }

    /// The bare figure.
    fn is_now(&self) -> String {
        let unit = if self.figure.starts_with("{} %") {
            " %"
        } else {
            ""
        };
        format!("{}{unit}", self.after)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; mended: {}", self.id, self.was(), self.is())
    }
}

/// Where a scene's manifests are.
pub fn manifests(id: &str, are: Are) -> PathBuf {
    let ending = match are {
        Are::AsFound => "",
        Are::Mended => ".mended",
    };
    root().join(MANIFESTS).join(format!("{id}{ending}.yaml"))
}

/// Writes the page and the table.
pub fn write(mut shown: Vec<Shown>) -> Result<()> {
    shown.sort_by_key(|scene| scene.id);
    fs::write(root().join(PAGE), page(&shown)?).with_context(|| format!("write {PAGE}"))?;
    let path = root().join(README);
    let text = fs::read_to_string(&path)?;
    let marks = || format!("{README} has no part for the harms: write {BEGIN}{END}");
    let (head, rest) = text.split_once(BEGIN).with_context(marks)?;
    let (_, tail) = rest.split_once(END).with_context(marks)?;
    let table = table(&shown, "docs/findings/");
    fs::write(path, format!("{head}{BEGIN}{table}{END}{tail}"))?;
    eprintln!("written to {PAGE} and {README}");
    Ok(())
}

// Writing to a String cannot fail.
fn table(shown: &[Shown], pages: &str) -> String {
    let mut text =
        String::from("| finding | what is wrong | what it costs | mended |\n|---|---|---|---|\n");
    for scene in shown {
        let (id, title) = (scene.id, scene.title());
        let (was, is) = (scene.was(), scene.is_now());
        let _ = writeln!(text, "| [{id}]({pages}{id}.md) | {title} | {was} | {is} |");
    }
    text
}

fn page(shown: &[Shown]) -> Result<String> {
    let mut text = format!(
        "# What findings predict\n\n\
         Written by `make proof`, from servers and clients in Go (grpc-go) run as pods {machine}. No call is tried again.\n\n\
         Each finding was told of the files below, with no cluster, and of what ran (in `status.findings`, or by `evenkeel check --cluster` where\n\
         nobody wrote a GrpcBackend) before the client came. Then the manifests were mended as it says, it was told no more, and\n\
         the same was done again.\n\n{table}",
        machine = machine()?,
        table = table(shown, "findings/"),
    );
    for scene in shown {
        text += &section(scene)?;
    }
    Ok(text)
}

fn section(scene: &Shown) -> Result<String> {
    let (before, after) = (
        fs::read_to_string(manifests(scene.id, Are::AsFound))?,
        fs::read_to_string(manifests(scene.id, Are::Mended))?,
    );
    Ok(format!(
        "\n## {id}: {title}\n\n\
         Of [{id}.yaml](../{MANIFESTS}/{id}.yaml) `evenkeel check` says in line {line}:\n\n> {message}\n\n\
         {done} **{was}.**\n\n\
         ```diff\n{difference}```\n\n\
         Mended so: **{is}.**\n",
        id = scene.id,
        title = scene.title(),
        line = scene.line,
        message = scene.message,
        done = scene.done,
        was = scene.was(),
        is = scene.is(),
        difference = difference(&before, &after),
    ))
}

/// The lines that only one of the two has, in order: each mends one place.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let head = before
        .iter()
        .zip(&after)
        .take_while(|(one, other)| one == other)
        .count();
    let most = before.len().min(after.len()) - head;
    let tail = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take(most)
        .take_while(|(one, other)| one == other)
        .count();
    let lines = |prefix: char, lines: &[&str]| {
        lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{prefix}{line}");
            text
        })
    };
    lines('-', &before[head..before.len() - tail]) + &lines('+', &after[head..after.len() - tail])
}
