//! The versions of what is measured, from the files that pin them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Library, the file that pins it, what stands before the version there, and what after it.
const PINS: [(&str, &str, &str, &str); 7] = [
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
];

/// By name.
pub fn read(root: &Path) -> Result<BTreeMap<String, String>> {
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
    fn every_pin_is_found() {
        let root = root();
        let versions = read(&root).unwrap();
        assert_eq!(versions.len(), PINS.len());
        for (name, version) in versions {
            let numbers = version
                .split('.')
                .filter(|part| part.parse::<u64>().is_ok());
            assert_eq!(numbers.count(), 3, "{name} {version}");
        }
    }
}
