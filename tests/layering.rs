//! Holds the rooms of the architecture apart: who may touch the outside, and who may know Kubernetes.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Doors to the outside. Everything else takes plain values, time included.
const DOORS: [&str; 3] = ["operator/", "cli/", "main.rs"];

/// What only a door may name.
const OUTSIDE: [&str; 18] = [
    "kube::Client",
    "kube::client",
    "kube::Api",
    "kube::api::Api",
    "Api<",
    "tokio::net",
    "tokio::fs",
    "tokio::io",
    "tokio::time",
    "std::fs",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
];

#[test]
fn only_the_doors_touch_the_outside() {
    let doors = |file: &Source| DOORS.iter().any(|door| file.name.starts_with(door));
    let offences: Vec<String> = sources()
        .iter()
        .filter(|file| !doors(file))
        .flat_map(|file| file.naming(&OUTSIDE))
        .collect();
    assert!(
        offences.is_empty(),
        "only operator/, cli/ and main.rs may touch the outside:\n{}",
        offences.join("\n")
    );
}

#[test]
fn balance_knows_no_kubernetes() {
    let offences: Vec<String> = sources()
        .iter()
        .filter(|file| file.name.starts_with("balance/"))
        .flat_map(|file| file.naming(&["k8s_openapi", "kube::", "crate::observed"]))
        .collect();
    assert!(
        offences.is_empty(),
        "balance/ takes numbers and names, no Kubernetes type:\n{}",
        offences.join("\n")
    );
}

#[test]
fn names_are_given_in_one_file() {
    let offences: Vec<String> = sources()
        .iter()
        .filter(|file| file.name != "names.rs" && !file.name.starts_with("api/"))
        .filter(|file| {
            file.text.contains("\"evenkeel.dev/") || file.text.contains(".evenkeel.dev/")
        })
        .map(|file| format!("src/{} spells out a name of ours", file.name))
        .collect();
    assert!(
        offences.is_empty(),
        "labels, annotations and the finalizer are constants of src/names.rs:\n{}",
        offences.join("\n")
    );
}

/// A file of the product, without comments and without its tests.
struct Source {
    /// The path below src/.
    name: String,
    text: String,
}

impl Source {
    /// One sentence for each of `needles` that the file names, by a path or by a `use`.
    fn naming(&self, needles: &[&str]) -> Vec<String> {
        let tight: String = self.text.split_whitespace().collect();
        let uses = uses(&self.text);
        needles
            .iter()
            .filter(|needle| {
                tight.contains(*needle) || uses.iter().any(|path| path.starts_with(*needle))
            })
            .map(|needle| format!("src/{} names {needle}", self.name))
            .collect()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(!files.is_empty(), "no source below {}", root.display());
    files
        .into_iter()
        .map(|path| Source {
            name: path.strip_prefix(&root).unwrap().display().to_string(),
            text: product(&fs::read_to_string(&path).unwrap()),
        })
        .collect()
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // A folder of tests is part of no product.
            if path.file_name().is_some_and(|name| name != "tests") {
                rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with("tests")
        {
            files.push(path);
        }
    }
    files.sort();
}

/// Without comment lines, and without the test module, which stands last.
fn product(text: &str) -> String {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let tests = code.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    code[..tests.unwrap_or(code.len())].join("\n")
}

/// Every path that a `use` brings in, groups written out.
fn uses(text: &str) -> Vec<String> {
    text.split(';')
        .filter_map(|statement| {
            let start = statement.rfind("use ")?;
            let before = statement[..start].chars().next_back();
            before.is_none_or(char::is_whitespace).then(|| {
                statement[start + 4..]
                    .split_whitespace()
                    .collect::<String>()
            })
        })
        .flat_map(|tree| expand(&tree))
        .collect()
}

fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    group
        .split(|character| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            character == ',' && depth == 0
        })
        .filter(|part| !part.is_empty())
        .flat_map(expand)
        .map(|part| format!("{prefix}{part}"))
        .collect()
}

#[test]
fn a_use_is_seen_however_it_is_written() {
    let source = |text: &str| Source {
        name: "balance/x.rs".into(),
        text: product(text),
    };
    for text in [
        "use kube::Client;",
        "use kube::{\n    ResourceExt as _,\n    Client,\n};",
        "use std::{collections::BTreeMap, fs};",
        "use kube::{api::{Api, ListParams}, Resource};",
        "fn f() { let now = jiff::Timestamp::now(); }",
        "pub(crate) use tokio::{sync::mpsc, time};",
    ] {
        assert!(!source(text).naming(&OUTSIDE).is_empty(), "{text}");
    }
    for text in [
        "// uses std::fs\nuse kube::ResourceExt as _;",
        "use std::net::IpAddr;\nuse jiff::Timestamp;",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
    ] {
        assert!(source(text).naming(&OUTSIDE).is_empty(), "{text}");
    }
}
