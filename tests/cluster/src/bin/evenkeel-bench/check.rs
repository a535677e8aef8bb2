//! How fast manifests are checked, and in how much memory.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::report::{Figure, median};

/// Deployments, each with its Service in a file of its own.
const PAIRS: usize = 500;
const TIMES: usize = 5;
/// Of one file.
const BYTES: usize = 10_000_000;

/// Values of one list: more than any manifest has, and each of two bytes.
const DENSE: usize = 100_000;
/// Documents of aliases, each of some kilobytes and of some megabytes with them written out.
const ALIASES: usize = 200;

/// The figures of `evenkeel check -f`, by the binary that the image has.
pub fn measure(root: &Path) -> Result<[Figure; 3]> {
    let binary = root.join("dist/evenkeel");
    let scratch = std::env::temp_dir().join(format!("evenkeel-bench-check-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let measured = speed(&binary, &scratch).and_then(|speed| {
        Ok([
            speed,
            memory(&binary, &scratch)?,
            hostile(&binary, &scratch)?,
        ])
    });
    fs::remove_dir_all(&scratch)?;
    measured
}

fn speed(binary: &Path, scratch: &Path) -> Result<Figure> {
    let directory = scratch.join("manifests");
    fs::create_dir_all(&directory)?;
    for number in 0..PAIRS {
        fs::write(
            directory.join(format!("{number}-deployment.yaml")),
            deployment(number),
        )?;
        fs::write(
            directory.join(format!("{number}-service.yaml")),
            service(number),
        )?;
    }
    let mut spans = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        let Run {
            succeeded, report, ..
        } = run(binary, &directory)?;
        spans.push(begun.elapsed());
        ensure!(succeeded, "evenkeel check failed");
        let found = report.matches("\"GB001\"").count();
        ensure!(found == PAIRS, "{found} of {PAIRS} backends are found");
    }
    let (middle, slowest) = median(&mut spans);
    Ok(Figure {
        name: "check of 1000 manifests",
        measured: format!("{:.2} s", middle.as_secs_f64()),
        target: "≤ 1 s",
        met: middle <= Duration::from_secs(1),
        how: format!(
            "`evenkeel check -f DIR -o json` on {PAIRS} Deployments and {PAIRS} Services, each in a file of its own; median of {TIMES}, slowest {:.2} s",
            slowest.as_secs_f64()
        ),
    })
}

fn memory(binary: &Path, scratch: &Path) -> Result<Figure> {
    let file = scratch.join("large.yaml");
    let mut text = String::with_capacity(BYTES + 2_000);
    // As long as rendered manifests are: 2.5 kB for a Deployment and its Service.
    let words = "what is known of it, in some words ".repeat(45);
    let note = format!("      annotations: {{note: \"{words}\"}}\n    spec:\n");
    let mut pairs = 0;
    while text.len() < BYTES {
        let deployment = deployment(pairs).replacen("    spec:\n", &note, 1);
        let _ = write!(text, "{deployment}---\n{}---\n", service(pairs));
        pairs += 1;
    }
    fs::write(&file, text)?;
    let begun = Instant::now();
    let run = run(binary, &file)?;
    ensure!(run.succeeded, "evenkeel check failed");
    let took = begun.elapsed();
    ensure!(run.report.contains("\"backends\""), "no report");
    let megabytes = run.most_kilobytes / 1000;
    Ok(Figure {
        name: "check of 10 MB",
        measured: format!("{megabytes} MB"),
        target: "≤ 256 MB",
        met: megabytes <= 256,
        how: format!(
            "greatest resident set (VmHWM) of the same on one file of 10 MB, {pairs} Deployments and as many Services; it took {:.1} s",
            took.as_secs_f64()
        ),
    })
}

/// Files that take much more than they have bytes: there is an end to it, which is said.
fn hostile(binary: &Path, scratch: &Path) -> Result<Figure> {
    let deployment = |number: usize, containers: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: server-{number}}}\nspec:\n  selector: {{matchLabels: {{app: a}}}}\n  \
             template:\n    metadata: {{labels: {{app: a}}}}\n    spec:\n      containers: [{containers}]\n---\n"
        )
    };
    let dense = format!("{{name: c, args: [{}]}}", vec!["a"; DENSE].join(","));
    let one = deployment(0, &dense).len();
    let dense: String = (0..BYTES / one).map(|at| deployment(at, &dense)).collect();
    let words = vec!["word"; 1_000].join(", ");
    let alias = format!("&c {{name: c, args: [{words}]}}{}", ", *c".repeat(600));
    let aliases: String = (0..ALIASES).map(|at| deployment(at, &alias)).collect();
    let mut most = 0;
    let mut told = Vec::new();
    for (name, text) in [("dense", dense), ("aliases", aliases)] {
        let file = scratch.join(format!("{name}.yaml"));
        fs::write(&file, &text)?;
        let begun = Instant::now();
        let run = run(binary, &file)?;
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(
            !run.succeeded && run.report.contains("is not read from here on"),
            "all of {name}.yaml is read"
        );
        let (megabytes, bytes) = (run.most_kilobytes / 1000, text.len() / 1000);
        told.push(format!(
            "{name}: {bytes} kB of YAML, {megabytes} MB in {seconds:.1} s"
        ));
        most = most.max(megabytes);
    }
    Ok(Figure {
        name: "check of hostile YAML",
        measured: format!("{most} MB"),
        target: "≤ 512 MB",
        met: most <= 512,
        how: format!(
            "the same on files of lists of short values, and of aliases, both of which it reads up to the bound of 128 MiB of all written out; {}",
            told.join(", ")
        ),
    })
}

struct Run {
    succeeded: bool,
    report: String,
    most_kilobytes: u64,
}

/// The report is longer than a pipe holds and written when all is done: until it is read the process waits, and its status can be.
fn run(binary: &Path, manifests: &Path) -> Result<Run> {
    let mut child = Command::new(binary)
        .args(["check", "-o", "json", "--fail-on=never", "-f"])
        .arg(manifests)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut output = child.stdout.take().context("no output")?;
    let mut report = vec![0];
    output.read_exact(&mut report)?;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    output.read_to_end(&mut report)?;
    let succeeded = child.wait()?.success();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    Ok(Run {
        succeeded,
        report: String::from_utf8(report)?,
        most_kilobytes: figure.context("no VmHWM")?.parse()?,
    })
}

fn deployment(number: usize) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: server-{number}, namespace: shop}}\nspec:\n  replicas: 3\n  \
         selector: {{matchLabels: {{app: server-{number}}}}}\n  template:\n    metadata:\n      labels: {{app: server-{number}}}\n    \
         spec:\n      containers:\n        - name: server\n          image: registry.example.com/server:1.4.2\n          \
         args: [--listen=:8080, --log-level=info]\n          env:\n            - name: POD_NAME\n              valueFrom:\n                \
         fieldRef: {{fieldPath: metadata.name}}\n          ports:\n            - {{name: grpc, containerPort: 8080}}\n            \
         - {{name: metrics, containerPort: 9090}}\n          readinessProbe:\n            grpc: {{port: 8080}}\n            \
         periodSeconds: 5\n          resources:\n            requests: {{cpu: 100m, memory: 64Mi}}\n            limits: {{memory: 128Mi}}\n"
    )
}

fn service(number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: server-{number}\n  namespace: shop\nspec:\n  selector:\n    \
         app: server-{number}\n  ports:\n    - name: grpc\n      port: 80\n      targetPort: 8080\n"
    )
}
