//! Whether the image depends on anything but the sources: it is built once more, from a copy at another place.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::image;
use crate::process::output;

/// Builds twice and compares binaries and digests.
pub fn check(root: &Path) -> Result<()> {
    image::build(root)?;
    // Another path, of another length, on whatever file system is for such things.
    let place = std::env::temp_dir().join(format!("evenkeel-once-more-{}", std::process::id()));
    let second = again(root, &place);
    let outcome = second.and_then(|()| compare(root, &place.join("sources")));
    let _ = fs::remove_dir_all(&place);
    outcome
}

/// Builds from a copy of the sources, with the downloads at another path too, and without anything that was built before.
fn again(root: &Path, place: &Path) -> Result<()> {
    let sources = place.join("sources");
    let list = ["-z", "--cached", "--others", "--exclude-standard"];
    let mut git = Command::new("git");
    git.arg("ls-files").args(list).current_dir(root);
    let listed = output(&mut git).context("git lists the sources")?;
    for name in listed.trim_end().split_terminator('\0') {
        let (from, to) = (root.join(name), sources.join(name));
        // Deleted and not committed yet.
        if !from.exists() {
            continue;
        }
        fs::create_dir_all(to.parent().context("a source has no directory")?)?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
    }
    let downloads = place.join("downloads");
    fs::create_dir_all(&downloads)?;
    for kept in ["registry", "git"] {
        let known = image::cargo_home()?.join(kept);
        if known.exists() {
            symlink(known, downloads.join(kept))?;
        }
    }
    fs::create_dir_all(sources.join("dist"))?;
    let built = image::static_binary_with(&sources, &downloads)?;
    image::image_of(&sources, &built)
}

fn compare(first: &Path, second: &Path) -> Result<()> {
    let binaries = [first, second].map(|place| sum(&place.join("dist/evenkeel")));
    let images = [first, second].map(|place| digest(&place.join("dist/evenkeel.tar")));
    for (what, [first, second]) in [("binary", binaries), ("image", images)] {
        let (first, second) = (first?, second?);
        if first != second {
            bail!(
                "the {what} is not reproducible: {first}, and from a copy of the sources {second}"
            );
        }
        println!("the {what} is the same twice: {first}");
    }
    Ok(())
}

fn sum(file: &Path) -> Result<String> {
    let said = output(Command::new("sha256sum").arg(file))?;
    let sum = said.split(' ').next().context("sha256sum says nothing")?;
    Ok(format!("sha256:{sum}"))
}

/// The digest by which a registry will know the image.
fn digest(archive: &Path) -> Result<String> {
    let mut extract = Command::new("tar");
    extract.args(["--extract", "--to-stdout", "--file"]);
    let index: Value = serde_json::from_str(&output(extract.arg(archive).arg("index.json"))?)?;
    let digest = index["manifests"][0]["digest"].as_str();
    Ok(digest.context("the image has no manifest")?.to_owned())
}
