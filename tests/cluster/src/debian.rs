//! Root file systems of Debian packages, for images of languages that need more than one static program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Key};

/// Of Debian's own package debian-archive-keyring.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A root file system of these packages with all that they depend on, only unpacked. Programs of it run as they are; what
/// would need a setup (users, certificates) is not there.
pub(crate) fn root(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let key = Key::new().text(&packages.join(" "));
    unpacked(name, key, packages, |archives| {
        if download(packages, archives, &[]).is_err() {
            // The lists may be stale or absent, which is found out by trying.
            cache::run(Command::new("apt-get").args(["update", "-qq"]))?;
            download(packages, archives, &[])?;
        }
        Ok(())
    })
}

/// The same from another release than this machine's, by its code name: for a version that this one does not have.
pub(crate) fn root_from(release: &str, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let key = Key::new().text(release).text(&packages.join(" "));
    unpacked(name, key, packages, |archives| {
        let lists = archives.with_file_name("lists");
        fs::create_dir_all(lists.join("partial"))?;
        let sources = lists.with_extension("sources");
        let source = format!(
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {release}\nComponents: main\nSigned-By: {KEYS}\n"
        );
        fs::write(&sources, source)?;
        let places = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={}", lists.display()),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let mut update = Command::new("apt-get");
        update.args(["update", "-qq"]);
        for place in &places {
            update.arg("-o").arg(place);
        }
        cache::run(&mut update)?;
        download(packages, archives, &places)?;
        fs::remove_dir_all(&lists).context("remove the lists")
    })
}

fn unpacked(
    name: &str,
    key: Key,
    packages: &[&str],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = cache::get(&format!("root-{name}"), key, |directory| {
        eprintln!("unpacking the Debian packages {}", packages.join(", "));
        let archives = directory.join("archives");
        fs::create_dir_all(archives.join("partial"))?;
        fill(&archives)?;
        unpack(&archives, &directory.join("root"))?;
        fs::remove_dir_all(&archives).context("remove the packages")
    })?;
    Ok(entry.join("root"))
}

/// To apt, a machine with nothing installed: it finds all that is needed, and touches nothing of this one.
fn download(packages: &[&str], archives: &Path, options: &[String]) -> Result<()> {
    let mut command = Command::new("apt-get");
    for option in options {
        command.arg("-o").arg(option);
    }
    command
        .args(["install", "--download-only", "-y", "-qq"])
        .args([
            "--no-install-recommends",
            "-o",
            "Dir::State::status=/dev/null",
        ])
        .args([
            "-o",
            "Dir::Cache::pkgcache=",
            "-o",
            "Dir::Cache::srcpkgcache=",
        ])
        .args([
            "-o",
            "Debug::NoLocking=true",
            "-o",
            "APT::Sandbox::User=root",
        ])
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    cache::run(&mut command)
}

fn unpack(archives: &Path, root: &Path) -> Result<()> {
    // Where Debian has its programs and libraries: packages may still name the old places.
    for directory in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(directory))?;
        std::os::unix::fs::symlink(Path::new("usr").join(directory), root.join(directory))?;
    }
    for entry in fs::read_dir(archives)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            // dpkg-deb's own --extract would put directories in the place of the links.
            let mut command = Command::new("sh");
            command
                .args([
                    "-c",
                    r#"dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1""#,
                ])
                .arg(&package)
                .arg(root);
            cache::run(&mut command)?;
        }
    }
    ensure!(
        root.join("usr/lib").read_dir()?.next().is_some(),
        "no package was unpacked"
    );
    // Pages for people, which no program reads.
    for directory in ["doc", "man", "locale", "lintian"] {
        let _ = fs::remove_dir_all(root.join("usr/share").join(directory));
    }
    Ok(())
}
