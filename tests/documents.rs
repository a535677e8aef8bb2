//! What pages name exists, and what must be on a page is: tests, reasons, other pages.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use evenkeel::connection_age::Change;
use evenkeel::findings::{CATALOGUE, ask};
use evenkeel::manifests::{Limits, Objects, backends, read};

/// What looks like a test's name and is a module of a library.
const NO_TESTS: [&str; 1] = ["client::conn"];

#[test]
fn tests_that_pages_name_exist() {
    let tests = tests_in(&root().join("tests/e2e"), "");
    assert!(tests.len() > 150, "only {} were found", tests.len());
    let mut unknown = BTreeSet::new();
    for page in pages() {
        let named = named(&page).into_iter();
        let missing =
            named.filter(|name| !tests.contains(name) && !NO_TESTS.contains(&name.as_str()));
        unknown.extend(missing.map(|name| format!("{}: {name}", page.display())));
    }
    assert!(unknown.is_empty(), "there is no such test: {unknown:#?}");
}

#[test]
fn the_table_of_coexistence_misses_none() {
    let tests = tests_in(&root().join("tests/e2e/coexist"), "coexist::");
    assert!(tests.len() > 20, "only {} tests were found", tests.len());
    let named = named(&root().join("docs/coexistence.md"));
    let missing: Vec<_> = tests.difference(&named).collect();
    assert!(
        missing.is_empty(),
        "docs/coexistence.md does not name {missing:#?}"
    );
}

#[test]
fn every_attack_is_told_of() {
    let tests = tests_in(&root().join("tests/e2e"), "");
    let named = named(&root().join("SECURITY.md"));
    let attacks = tests.iter().filter(|test| test.starts_with("attack::"));
    let missing: Vec<_> = attacks.filter(|test| !named.contains(*test)).collect();
    assert!(missing.is_empty(), "SECURITY.md does not name {missing:#?}");
}

/// The figures are measured now and then; what was measured, and what is said of it, are the files and the rules of today.
#[test]
fn what_is_said_of_harms_is_said_today() {
    let page = fs::read_to_string(root().join("docs/harms.md")).unwrap();
    let scenes = fs::read_to_string(root().join("tests/e2e/harms/scenes.rs")).unwrap();
    let mut rows = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let id = &section[..5];
        let manifests = |ending: &str| {
            let path = root().join(format!("tests/e2e/harms/{id}{ending}"));
            fs::read_to_string(path).unwrap()
        };
        let (found, mended) = (manifests(".yaml"), manifests(".mended.yaml"));
        let (line, message) = said(id, &found).unwrap();
        let mut lines = section.lines().filter(|line| !line.is_empty()).skip(1);
        let of = lines.next().unwrap();
        assert!(
            of.ends_with(&format!("says in line {line}:")),
            "{of}: {line}"
        );
        assert_eq!(lines.next().unwrap(), format!("> {message}"), "{id}");
        let (done, _) = lines.next().unwrap().split_once(" **").unwrap();
        assert!(
            scenes.contains(&format!("done: \"{done}\"")),
            "{id}: {done}"
        );
        let whole = |text: &str, line: &str| text.lines().any(|own| own == line);
        let (_, changes) = section.split_once("```diff\n").unwrap();
        for change in changes.split("```").next().unwrap().lines() {
            let (text, line) = match change.strip_prefix('-') {
                Some(line) => (&found, line),
                None => (&mended, change.strip_prefix('+').unwrap()),
            };
            assert!(whole(text, line), "{id}: {change}");
        }
        rows.push(row(id, section, &scenes));
    }
    assert_eq!(rows.len(), scenes.matches("        done: \"").count());
    // The page's table, and that of the README, are of these very figures.
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, block) = readme.split_once("make proof`: harms -->\n").unwrap();
    let (block, _) = block.split_once("<!-- end -->").unwrap();
    let (table, _) = page.split_once("\n## ").unwrap();
    let table = &table[table.find("| finding |").unwrap()..];
    for (told, pages) in [(table, "findings/"), (block, "docs/findings/")] {
        let told: Vec<&str> = told.lines().skip(2).collect();
        let expected: Vec<_> = rows
            .iter()
            .map(|row| row.replace("PAGES/", pages))
            .collect();
        assert_eq!(told, expected);
    }
}

/// What was measured is of its day, and what is said of it is what `make proof` would write today.
#[test]
fn what_is_said_of_proofs_is_said_today() {
    let page = fs::read_to_string(root().join("docs/proof.md")).unwrap();
    let template = fs::read_to_string(root().join("tests/e2e/proof.md")).unwrap();
    // Between two measurements stands a part of the text.
    let parts: Vec<&str> = template.split(['{', '}']).step_by(2).collect();
    assert_eq!(parts.len(), 4, "{parts:#?}");
    let mut rest = page.as_str();
    for part in parts {
        let found = rest.split_once(part.trim_end());
        (_, rest) = found.unwrap_or_else(|| panic!("write docs/proof.md anew: {part}"));
    }
}

/// A section's row of the table; its figures are what its scene counts.
fn row(id: &str, section: &str, scenes: &str) -> String {
    let mut figures = section.split("**").skip(1).step_by(2);
    let [before, after] = [0; 2].map(|_| figures.next().unwrap().trim_end_matches('.'));
    let words = |figure: &str| {
        figure
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .to_owned()
    };
    let counted = format!("figure: \"{{}}{}\"", words(before));
    assert!(scenes.contains(&counted), "{id}: {counted}");
    assert_eq!(words(before), words(after), "{id}");
    let unit = if words(after).starts_with(" %") {
        " %"
    } else {
        ""
    };
    let number = &after[..after.len() - words(after).len()];
    let rule = CATALOGUE.iter().find(|rule| rule.id == id).unwrap();
    let title = rule.title;
    format!("| [{id}](PAGES/{id}.md) | {title} | {before} | {number}{unit} |")
}

/// The line and the sentence of a finding.
fn said(id: &str, text: &str) -> Option<(usize, String)> {
    let mut objects = Objects::default();
    let take = |node| {
        objects.add(&"file".into(), node, "default");
        Ok(())
    };
    read(text.as_bytes(), &Limits::default(), take).unwrap();
    backends(&objects).iter().find_map(|backend| {
        let found = ask(&backend.observed).found;
        let (_, seen) = found.into_iter().find(|(rule, _)| rule.id == id)?;
        let seen = seen.into_iter().next()?;
        Some((backend.locate(&seen.place).1, seen.message))
    })
}

/// What stands in backquotes on a page and looks like a test's name.
fn named(page: &Path) -> BTreeSet<String> {
    let page = fs::read_to_string(page).unwrap();
    let word = |text: &&str| {
        text.contains("::")
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
    };
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter(word)
        .map(str::to_owned)
        .collect()
}

/// The tests that the files below `directory` list, as `module::name`.
fn tests_in(directory: &Path, module: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(tests_in(&path, &format!("{module}{name}::")));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lists = text.split("\ntests![").skip(1);
        for list in lists.filter_map(|rest| rest.split(']').next()) {
            let tests = list.split(',').filter_map(|test| {
                let (_, rest) = test.trim().rsplit_once(' ')?;
                Some(format!("{module}{name}::{}", rest.split_once('(')?.0))
            });
            found.extend(tests);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_reason_of_a_condition_has_its_paragraph() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let mut told = BTreeSet::new();
    for section in page.split("\n### ").skip(1) {
        let (reason, text) = section.split_once('\n').unwrap();
        let text = text.split("\n## ").next().unwrap();
        assert!(text.trim().len() > 20, "{reason} says next to nothing");
        assert!(told.insert(reason.to_owned()), "{reason} is told twice");
    }
    let reasons = evenkeel::api::Reason::ALL.iter();
    let known: BTreeSet<String> = reasons.map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(
        told, known,
        "docs/troubleshooting.md and src/api/conditions.rs"
    );
    for change in Change::ALL {
        let row = format!("| `{}` |", change.reason());
        assert!(page.contains(&row), "docs/troubleshooting.md has no {row}");
    }
}

/// On the page, and without how they were measured in the README.
#[test]
fn the_figures_are_those_that_are_measured() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let columns = rows.map(|row| row.split(" | ").take(3).map(str::to_owned).collect());
        columns.skip(1).collect()
    };
    let page = rows(&read("docs/benchmarks.md"));
    let readme = read("README.md");
    let table = readme
        .split("<!-- written by `make bench`: figures -->")
        .nth(1);
    let table = rows(table.unwrap().split("<!-- end -->").next().unwrap());
    assert_eq!(table, page, "README.md and docs/benchmarks.md");
    let mut measured = BTreeSet::new();
    for file in fs::read_dir(root().join("tests/cluster/src/bin/evenkeel-bench")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let figures = text.split("Figure {").skip(1);
        let names = figures.filter_map(|figure| figure.trim_start().strip_prefix("name: \""));
        measured.extend(names.map(|name| name.split('"').next().unwrap().to_owned()));
    }
    let told: BTreeSet<String> = page.iter().map(|row| row[0][2..].to_owned()).collect();
    assert_eq!(told, measured, "the page, and what `make bench` measures");
}

/// Our pages as others see them.
const HERE: &str = "https://github.com/evenkeel/evenkeel/blob/main/";

/// It is packed with the chart, where nothing else of ours is.
#[test]
fn the_page_of_the_chart_can_be_read_alone() {
    let page = fs::read_to_string(root().join("charts/evenkeel/README.md")).unwrap();
    assert!(!page.contains("](.."), "a link leads out of the chart");
}

/// Links between pages lead somewhere.
#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let link = link.split('#').next().unwrap();
            let (from, target) = match link.strip_prefix(HERE) {
                Some(target) => (root(), target),
                None => (page.parent().unwrap(), link),
            };
            let elsewhere = target.is_empty() || target.contains("://") || target.contains(' ');
            if !elsewhere && !from.join(target).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The pages that people read.
fn pages() -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for directory in [
        "",
        "docs",
        "docs/decisions",
        "docs/findings",
        "docs/runbooks",
        "charts/evenkeel",
    ] {
        let entries = fs::read_dir(root().join(directory)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    assert!(found.len() > 20, "only {} pages were found", found.len());
    found
}
