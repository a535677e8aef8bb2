//! The servers and clients of `examples`, one pair for each language, as images that tests run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Key};
use crate::packages::{Package, install};
use crate::paths::{cache_dir, source_dir};
use crate::{debian, images};

/// A language's server and client, together in one image.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Its directory in `examples`.
    pub name: &'static str,
    /// What the server's container runs.
    pub server: &'static [&'static str],
    /// What the client's container runs, before its flags.
    pub client: &'static [&'static str],
    /// Of Debian, for the image.
    packages: &'static [&'static str],
    /// Of Debian, for the build, if they are not here.
    tools: &'static [Package],
    /// Puts the programs from a copy of the sources below the image's root.
    assemble: fn(&Path, &Path) -> Result<()>,
}

/// grpc-go, and kuberesolver.
pub const GO: Example = Example {
    name: "go",
    server: &["/app/server"],
    client: &["/app/client"],
    packages: &[],
    tools: &[],
    assemble: go,
};
/// grpcio, with asyncio.
pub const PYTHON: Example = Example {
    name: "python",
    server: &["/usr/bin/python3", "/app/server.py"],
    client: &["/usr/bin/python3", "/app/client.py"],
    packages: &["python3", "libstdc++6"],
    tools: &[Package {
        name: "python3-pip",
        file: "/usr/bin/pip3",
        why: "installs the libraries of examples/python",
    }],
    assemble: python,
};
/// tonic, with name look-ups of its own.
pub const RUST: Example = Example {
    name: "rust",
    server: &["/app/server"],
    client: &["/app/client"],
    packages: &[],
    tools: &[],
    assemble: rust,
};
/// @grpc/grpc-js.
pub const NODE: Example = Example {
    name: "node",
    server: &["/usr/bin/node", "/app/server.js"],
    client: &["/usr/bin/node", "/app/client.js"],
    packages: &["nodejs"],
    tools: &[Package {
        name: "npm",
        file: "/usr/bin/npm",
        why: "installs the libraries of examples/node",
    }],
    assemble: node,
};
/// grpc-java.
pub const JAVA: Example = Example {
    name: "java",
    server: &JAVA_SERVER,
    client: &JAVA_CLIENT,
    packages: &["openjdk-17-jre-headless"],
    tools: &[
        Package {
            name: "openjdk-17-jdk-headless",
            file: "/usr/bin/javac",
            why: "compiles examples/java",
        },
        Package {
            name: "maven",
            file: "/usr/bin/mvn",
            why: "builds examples/java",
        },
    ],
    assemble: java,
};
/// All of them.
pub const ALL: [Example; 5] = [GO, PYTHON, RUST, NODE, JAVA];

const JAVA_SERVER: [&str; 6] = java_command("dev.evenkeel.examples.Server");
const JAVA_CLIENT: [&str; 6] = java_command("dev.evenkeel.examples.Client");

/// Without what makes a JVM fast in the long run and slow to start: many start at once.
const fn java_command(class: &'static str) -> [&'static str; 6] {
    let [serial, tiered] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
    ["/usr/bin/java", serial, tiered, "-cp", "/app/*", class]
}

/// What a language's own tools leave beside the sources.
const LEFTOVERS: [&str; 3] = ["__pycache__", "node_modules", "target"];

impl Example {
    /// The name of its image.
    pub fn image(&self) -> String {
        format!("docker.io/evenkeel-test/example-{}:1", self.name)
    }

    /// Builds what is missing, and returns the image's archive.
    pub fn build(&self) -> Result<PathBuf> {
        let directory = source_dir().join("../../examples").join(self.name);
        let sources = sources(&directory)?;
        let mut key = Key::new()
            .text(&self.image())
            .text(&self.packages.join(" "))
            .text(include_str!("examples.rs"));
        for path in &sources {
            key = key
                .text(&path.display().to_string())
                .file(&directory.join(path))?;
        }
        let entry = cache::get(&format!("example-{}", self.name), key, |built| {
            eprintln!("building examples/{}", self.name);
            let begun = Instant::now();
            install(self.tools)?;
            // Alone, as whoever copies it has it.
            let copy = built.join("work");
            for path in &sources {
                copy_to(&directory.join(path), &copy.join(path))?;
            }
            let root = built.join("root");
            self.base(&root)?;
            (self.assemble)(&copy, &root)?;
            images::tree(&self.image(), &root, self.server, &built.join("image.tar"))?;
            fs::remove_dir_all(&copy)?;
            fs::remove_dir_all(&root).context("remove the build's leftovers")?;
            eprintln!("  took {} s", begun.elapsed().as_secs());
            Ok(())
        })?;
        Ok(entry.join("image.tar"))
    }

    fn base(&self, root: &Path) -> Result<()> {
        if self.packages.is_empty() {
            return fs::create_dir(root).context("make the root");
        }
        let base = debian::root(self.name, self.packages)?;
        cache::run(Command::new("cp").arg("-a").arg(base).arg(root))
    }
}

/// All files of an example, relative to its directory, in a fixed order.
fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("read {}", next.display()))? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                files.push(entry.path().strip_prefix(directory)?.to_owned());
            } else if LEFTOVERS.iter().all(|left| entry.file_name() != *left) {
                directories.push(entry.path());
            }
        }
        ensure!(
            files.len() < 1000,
            "too many files below {}",
            directory.display()
        );
    }
    files.sort();
    Ok(files)
}

fn copy_to(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("no directory")?)?;
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {}", from.display()))
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    cache::run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to))
}

/// Static programs need nothing else in the image.
fn go(source: &Path, root: &Path) -> Result<()> {
    let app = root.join("app");
    let mut build = Command::new("go");
    build
        .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly"])
        .args(["-ldflags=-s -w", "-o"])
        .arg(format!("{}/", app.display()))
        .args(["./server", "./client"])
        .current_dir(source)
        .envs([
            ("CGO_ENABLED", "0"),
            ("GOWORK", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", ""),
        ]);
    cache::run(&mut build)
}

/// Libraries beside the programs, which is where Python looks first.
fn python(source: &Path, root: &Path) -> Result<()> {
    let app = root.join("app");
    fs::create_dir(&app)?;
    let architecture = std::env::consts::ARCH;
    let mut pip = Command::new("/usr/bin/python3");
    pip.args(["-m", "pip", "install", "--quiet", "--require-hashes"])
        .args(["--only-binary=:all:", "--no-compile", "--implementation=cp"])
        .arg(format!("--python-version={}", python_version(root)?))
        .arg(format!("--platform=manylinux2014_{architecture}"))
        .arg("--requirement")
        .arg(source.join("requirements.txt"))
        .arg("--target")
        .arg(&app);
    cache::run(&mut pip)?;
    copy_all(source, &app)?;
    // Tries both, and leaves what Python compiles of its modules: pods may not write, and would compile at every start.
    let mut try_out = Command::new("chroot");
    try_out.arg(root).args([
        "/usr/bin/python3",
        "-c",
        "import sys; sys.path.insert(0, '/app'); import server, client",
    ]);
    cache::run(&mut try_out)
}

/// Static programs, as in Go.
fn rust(source: &Path, root: &Path) -> Result<()> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // Kept, since most of it are dependencies, which a change of ours leaves as they are.
    let target = cache_dir()?.join("example-rust");
    let mut build = cache::cargo();
    build
        .args(["build", "--quiet", "--release", "--locked", "--target"])
        .arg(&platform)
        .current_dir(source)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    cache::run(&mut build)?;
    for program in ["server", "client"] {
        let path = target.join(&platform).join("release").join(program);
        copy_to(&path, &root.join("app").join(program))?;
    }
    Ok(())
}

fn node(source: &Path, root: &Path) -> Result<()> {
    let app = root.join("app");
    fs::create_dir(&app)?;
    copy_all(source, &app)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&app);
    cache::run(&mut npm)
}

fn java(source: &Path, root: &Path) -> Result<()> {
    // Kept, since most of it are plugins and libraries.
    let repository = cache_dir()?.join("example-java");
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "package"])
        .arg(format!("-Dmaven.repo.local={}", repository.display()))
        .current_dir(source);
    cache::run(&mut maven)?;
    let app = root.join("app");
    fs::create_dir(&app)?;
    copy_all(&source.join("target/lib"), &app)?;
    copy_to(&source.join("target/echo-0.1.0.jar"), &app.join("echo.jar"))?;
    // What a setup of the package would make.
    let machines = root.join("usr/lib/jvm");
    let mut found = fs::read_dir(&machines)?.flatten();
    let machine = found
        .find(|entry| entry.path().join("bin/java").exists())
        .context("no bin/java in the image")?;
    let program = Path::new("/usr/lib/jvm")
        .join(machine.file_name())
        .join("bin/java");
    std::os::unix::fs::symlink(program, root.join("usr/bin/java")).context("link java")
}

/// Of the image's interpreter: this machine may have another, or none.
fn python_version(root: &Path) -> Result<String> {
    let link = fs::read_link(root.join("usr/bin/python3")).context("no python3 in the image")?;
    let name = link.to_string_lossy().into_owned();
    let version = name
        .strip_prefix("python")
        .context("python3 names no version")?;
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_stands_alone() -> Result<()> {
        let contract = fs::read(source_dir().join("workloads/proto/echo.proto"))?;
        for example in ALL {
            let directory = source_dir().join("../../examples").join(example.name);
            let mut copies = 0;
            for path in sources(&directory)? {
                let content = fs::read(directory.join(&path))?;
                if path.ends_with("echo.proto") {
                    copies += 1;
                    let same = content == contract;
                    ensure!(same, "{}: {} is another", example.name, path.display());
                }
                let page = path.extension().is_some_and(|extension| extension == "md");
                let outside = String::from_utf8_lossy(&content).contains("../..");
                ensure!(page || !outside, "{}: {}", example.name, path.display());
            }
            ensure!(copies == 1, "{}: {copies} of echo.proto", example.name);
        }
        Ok(())
    }
}
