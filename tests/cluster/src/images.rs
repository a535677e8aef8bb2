//! Images without a registry: OCI archives, built here and imported by path.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache::{self, Key};
use crate::components::build_workloads;
use crate::paths::{open_lock, source_dir};

/// The sandbox image's name in containerd's configuration.
pub(crate) const PAUSE_IMAGE: &str = "local.test/pause:1";
/// The gRPC server of tests and demo.
pub const SERVER: &str = "docker.io/evenkeel-test/server:1";
/// The gRPC client of tests and demo.
pub const CLIENT: &str = "docker.io/evenkeel-test/client:1";
const CATATONIT: &str = "/usr/bin/catatonit";

/// What a pod's sandbox runs: a static init that only waits.
pub(crate) fn pause() -> Result<PathBuf> {
    let binary = Path::new(CATATONIT);
    scratch(PAUSE_IMAGE, &[(binary, "catatonit")], &["/catatonit", "-P"])
}

/// The operator's image by the repository's own task (`cargo xtask image`): quick when nothing changed. Compiler
/// messages go to standard error. Runs beside each other take turns, and each gets an archive that stays as it is.
pub fn operator() -> Result<PathBuf> {
    let root = source_dir().join("../..");
    let dist = root.join("dist");
    fs::create_dir_all(&dist)?;
    let lock = open_lock(&dist.join(".lock"))?;
    lock.lock()?;
    crate::packages::install_missing()?;
    let output = cache::cargo()
        .args(["xtask", "image"])
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo is needed to build the operator: is it on the PATH?")?;
    ensure!(
        output.status.success(),
        "cargo xtask image: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout).trim()
    );
    let archive = dist.join("evenkeel.tar");
    let key = Key::new().file(&archive)?;
    let entry = cache::get("image-operator", key, |directory| {
        fs::copy(&archive, directory.join("image.tar"))
            .map(drop)
            .context("keep the operator's image")
    })?;
    Ok(entry.join("image.tar"))
}

/// The images of the gRPC server and client in `tests/cluster/workloads`: [`SERVER`] and [`CLIENT`].
pub fn workloads() -> Result<[PathBuf; 2]> {
    let programs = build_workloads()?;
    let image = |name: &str, program: &str| {
        scratch(
            name,
            &[(&programs.join(program), program)],
            &[&format!("/{program}")],
        )
    };
    Ok([image(SERVER, "server")?, image(CLIENT, "client")?])
}

/// An image `FROM scratch` of static programs and other files (`(source, path
/// in the image)`, executable), without buildah: returns the OCI archive.
pub fn scratch(image: &str, files: &[(&Path, &str)], entrypoint: &[&str]) -> Result<PathBuf> {
    let mut key = Key::new().text(image).text(&entrypoint.join("\0"));
    for (source, path) in files {
        key = key.text(path).file(source)?;
    }
    let entry = cache::get(&format!("image-{}", file_name(image)), key, |directory| {
        let mut layer = tar::Builder::new(Vec::new());
        for (source, path) in files {
            append(&mut layer, path, &fs::read(source)?, 0o755)?;
        }
        write_archive(
            &directory.join("image.tar"),
            image,
            &layer.into_inner()?,
            entrypoint,
        )
    })?;
    Ok(entry.join("image.tar"))
}

/// An image of one directory, which becomes its root, as an OCI archive.
pub(crate) fn tree(image: &str, root: &Path, entrypoint: &[&str], output: &Path) -> Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(false);
    layer.mode(tar::HeaderMode::Deterministic);
    layer
        .append_dir_all("", root)
        .with_context(|| format!("read {}", root.display()))?;
    write_archive(output, image, &layer.into_inner()?, entrypoint)
}

fn write_archive(output: &Path, image: &str, layer: &[u8], entrypoint: &[&str]) -> Result<()> {
    let config = serde_json::to_vec(&json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }))?;
    let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    listed["annotations"] =
        json!({"io.containerd.image.name": image, "org.opencontainers.image.ref.name": image});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [listed]}))?;
    let mut archive = tar::Builder::new(File::create(output)?);
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        0o644,
    )?;
    append(&mut archive, "index.json", &index, 0o644)?;
    for blob in [config.as_slice(), &manifest, layer] {
        append(
            &mut archive,
            &format!("blobs/{}", digest(blob).replace(':', "/")),
            blob,
            0o644,
        )?;
    }
    archive.finish().context("write the image")
}

fn append<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    content: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("add {path}"))
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| {
            text + &format!("{byte:02x}")
        })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Builds `dockerfile` with the files of `context` (pairs of a source and its
/// path in the build context) and returns an OCI archive. `image` has to be a
/// full name with a tag, such as `docker.io/evenkeel/evenkeel:test`.
pub fn build(image: &str, dockerfile: &Path, context: &[(&Path, &str)]) -> Result<PathBuf> {
    let tagged = image
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':') && !last.ends_with(":latest"));
    ensure!(
        tagged && image.contains('/'),
        "image {image}: give the full name with a tag other than latest"
    );
    crate::packages::install_missing()?;
    let mut key = Key::new().text(image).file(dockerfile)?;
    for (source, path) in context {
        key = key.text(path);
        key = if source.is_dir() {
            key.tree(source)?
        } else {
            key.file(source)?
        };
    }
    let entry = cache::get(&format!("image-{}", file_name(image)), key, |directory| {
        eprintln!("building the image {image}");
        let work = directory.join("work");
        let files = work.join("context");
        fs::create_dir_all(&files)?;
        for (source, path) in context {
            let target = files.join(path);
            fs::create_dir_all(target.parent().unwrap_or(&files))?;
            let mut copy = Command::new("cp");
            cache::run(copy.args(["-r", "--preserve=mode"]).arg(source).arg(target))?;
        }
        let buildah = || {
            let mut command = Command::new("buildah");
            command
                .arg("--root")
                .arg(work.join("root"))
                .arg("--runroot")
                .arg(work.join("runroot"));
            command.args(["--storage-driver", "vfs"]);
            command
        };
        let mut bud = buildah();
        bud.args([
            "bud",
            "--isolation",
            "chroot",
            "--timestamp",
            "0",
            "-t",
            image,
            "-f",
        ])
        .arg(dockerfile)
        .arg(&files);
        cache::run(&mut bud)?;
        let archive = directory.join("image.tar");
        cache::run(
            buildah()
                .args(["push", image])
                .arg(format!("oci-archive:{}:{image}", archive.display())),
        )?;
        fs::remove_dir_all(&work).context("remove the build's leftovers")
    })?;
    Ok(entry.join("image.tar"))
}

fn file_name(image: &str) -> String {
    image
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect()
}
