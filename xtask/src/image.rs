//! The static binary and the image made of it, without a registry and without a daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, must, output};

/// Has the image's name.
const VALUES: &str = "charts/evenkeel/values.yaml";

/// Builds `dist/evenkeel` and, from the Dockerfile, `dist/evenkeel.tar`.
pub fn build(root: &Path) -> Result<()> {
    // Told now, and not after minutes of compiling.
    if Command::new("buildah").arg("--version").output().is_err() {
        bail!("buildah is missing: apt-get install buildah");
    }
    let dist = root.join("dist");
    fs::create_dir_all(&dist)?;
    let built = static_binary(root)?;
    image_of(root, &built)
}

/// Builds the image from the binary, unless it is there.
pub fn image_of(root: &Path, built: &Path) -> Result<()> {
    let dist = root.join("dist");
    let archive = dist.join("evenkeel.tar");
    if is_of(root, built, &archive) {
        println!("dist/evenkeel.tar is up to date");
        return Ok(());
    }
    let copy = dist.join("evenkeel");
    fs::copy(built, &copy).context("cannot copy the binary to dist/evenkeel")?;
    // Not as the umask of whoever builds has it: the mode is part of the image.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;

    let reference = format!("{}:{}", repository(root)?, version(root)?);
    let store = dist.join(format!(".buildah-{}", std::process::id()));
    // Under its name only when it is whole.
    let unfinished = store.with_extension("tar");
    let built = archive_of(root, &store, &reference, &unfinished);
    // Only a store of this one build: the archive is what remains.
    let _ = fs::remove_dir_all(&store);
    built?;
    fs::rename(unfinished, &archive)?;
    let size = fs::metadata(&archive)?.len();
    println!(
        "{reference} is in dist/evenkeel.tar, {}.{} MB",
        size / 1_000_000,
        size / 100_000 % 10
    );
    Ok(())
}

/// Where the chart says that the image is: an archive has the image by that name.
fn repository(root: &Path) -> Result<String> {
    let values = fs::read_to_string(root.join(VALUES)).context(VALUES)?;
    let values: serde_json::Value = serde_yaml_ng::from_str(&values).context(VALUES)?;
    let repository = values["image"]["repository"].as_str();
    Ok(repository
        .with_context(|| format!("{VALUES} has no image.repository"))?
        .to_owned())
}

/// Whether the archive has this very binary: it is later than what it is made from, the copy beside it among that.
fn is_of(root: &Path, built: &Path, archive: &Path) -> bool {
    let copy = archive.with_file_name("evenkeel");
    let later_than = |source: &Path| {
        let changed = |path: &Path| fs::metadata(path)?.modified();
        changed(archive)
            .and_then(|made| Ok(made >= changed(source)?))
            .unwrap_or(false)
    };
    let same = || matches!((fs::read(built), fs::read(&copy)), (Ok(a), Ok(b)) if a == b);
    let made_from = ["Dockerfile", VALUES];
    later_than(&copy) && made_from.iter().all(|file| later_than(&root.join(file))) && same()
}

/// Static, so that it runs in an image that is otherwise empty.
pub fn static_binary(root: &Path) -> Result<PathBuf> {
    static_binary_with(root, &cargo_home()?)
}

/// Where cargo keeps what it has downloaded.
pub fn cargo_home() -> Result<PathBuf> {
    let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(default)
        .context("neither CARGO_HOME nor HOME is set")
}

/// The same with the downloads elsewhere. The same sources are the same binary, wherever these places are.
pub fn static_binary_with(root: &Path, cargo_home: &Path) -> Result<PathBuf> {
    let verbose = output(Command::new("rustc").arg("-vV").current_dir(root))?;
    let host = verbose
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    println!("building the static binary for {host}");
    let metadata = metadata(root)?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target_directory")?;
    // Panics say where they are, with the path of the source. Cargo names this package's by the way from the root, so that the root
    // itself need not be here: with it, the crates that were built for one clone would be built anew for the next.
    let places = [(cargo_home, "/cargo"), (Path::new(target), "/target")];
    let flags: Vec<String> = std::iter::once("-Ctarget-feature=+crt-static".to_owned())
        .chain(places.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())))
        .collect();
    // Without --target they would be for build scripts and procedural macros too, which cannot be static.
    must(
        cargo(root)
            .args(["build", "--release", "--locked", "--bin", "evenkeel"])
            .args(["--target", host])
            .env("CARGO_HOME", cargo_home)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")),
    )?;
    Ok(Path::new(target).join(host).join("release/evenkeel"))
}

fn version(root: &Path) -> Result<String> {
    let metadata = metadata(root)?;
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "evenkeel")
        .and_then(|package| Some(package["version"].as_str()?.to_owned()))
        .context("cargo metadata knows no package evenkeel")
}

fn metadata(root: &Path) -> Result<serde_json::Value> {
    let arguments = ["metadata", "--no-deps", "--format-version=1", "--locked"];
    let text = output(cargo(root).args(arguments))?;
    serde_json::from_str(&text).context("cannot read what cargo metadata says")
}

fn archive_of(root: &Path, store: &Path, reference: &str, archive: &Path) -> Result<()> {
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .current_dir(root)
            .arg("--root")
            .arg(store.join("root"))
            .arg("--runroot")
            .arg(store.join("run"))
            .args(["--storage-driver", "vfs"]);
        command
    };
    // Neither the time of the build nor buildah's version is in it: the same binary is the same image.
    must(
        buildah()
            .args(["bud", "--isolation", "chroot", "--timestamp", "0"])
            .arg("--identity-label=false")
            .args(["--tag", reference, "."]),
    )?;
    must(
        buildah()
            .args(["push", "--quiet", reference])
            .arg(format!("oci-archive:{}:{reference}", archive.display())),
    )
}
