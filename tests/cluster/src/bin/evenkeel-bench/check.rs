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

/// The figures of `evenkeel check -f`, by the binary that the image has.
pub fn measure(root: &Path) -> Result<[Figure; 2]> {
    let binary = root.join("dist/evenkeel");
    let scratch = std::env::temp_dir().join(format!("evenkeel-bench-check-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let measured =
        speed(&binary, &scratch).and_then(|speed| Ok([speed, memory(&binary, &scratch)?]));
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
        let report = run(binary, &directory)?.report;
        spans.push(begun.elapsed());
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

struct Run {
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
    ensure!(child.wait()?.success(), "evenkeel check failed");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    Ok(Run {
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
