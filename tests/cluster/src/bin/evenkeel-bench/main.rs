//! The figures that Evenkeel promises, measured on a real Kubernetes: `make bench`. Never part of the tests, since
//! they depend on the machine.

mod check;
mod children;
mod memory;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel_cluster::{Cluster, Components, Options, images, install_missing, source_dir};

use report::{Figure, median};

const STARTS: usize = 3;

fn main() -> ExitCode {
    evenkeel_cluster::maybe_supervise();
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        eprintln!("cannot start threads");
        return ExitCode::FAILURE;
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = bench() => outcome,
            // Clusters end with this process.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let root = source_dir()
        .join("../..")
        .canonicalize()
        .context("find the repository")?;
    eprintln!("building what is missing");
    let (operator, workloads) = tokio::task::spawn_blocking(|| {
        install_missing()?;
        Components::build()?;
        anyhow::Ok((images::operator()?, images::workloads()?))
    })
    .await??;
    let mut figures = vec![image(&operator)?];
    eprintln!("manifests checked");
    figures.extend(check::measure(&root)?);
    let (start, cluster) = start().await?;
    let measured = async {
        cluster.import_image(&operator).await?;
        for image in &workloads {
            cluster.import_image(image).await?;
        }
        install(&cluster, &root).await?;
        eprintln!("children of {} backends", children::APPLIES);
        let children = children::measure(&cluster).await?;
        eprintln!("memory with {} backends, at rest", memory::BACKENDS);
        anyhow::Ok([children, memory::measure(&cluster).await?])
    };
    let logs = || format!("the logs are in {}", cluster.logs_dir().display());
    let [children, memory] = measured.await.with_context(logs)?;
    figures.splice(0..0, [children, memory]);
    figures.push(start);
    let table = report::table(&figures);
    println!("{table}");
    let file = root.join("docs/benchmarks.md");
    std::fs::write(&file, report::page(&table)?)
        .with_context(|| format!("write {}", file.display()))?;
    eprintln!("written to docs/benchmarks.md");
    Ok(())
}

fn image(archive: &Path) -> Result<Figure> {
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let megabytes = std::fs::metadata(archive)?.len() as f64 / 1e6;
    Ok(Figure {
        name: "image",
        measured: format!("{megabytes:.1} MB"),
        target: "≤ 20 MB",
        met: megabytes <= 20.0,
        how: "size of the OCI archive `dist/evenkeel.tar`, as a registry would hold it".into(),
    })
}

/// The last of the clusters goes on.
async fn start() -> Result<(Figure, Cluster)> {
    let mut spans = Vec::new();
    loop {
        eprintln!("cluster start {} of {STARTS}", spans.len() + 1);
        let begun = Instant::now();
        let cluster = Cluster::start(Options::named("bench")).await?;
        spans.push(begun.elapsed());
        if spans.len() < STARTS {
            continue;
        }
        let (middle, slowest) = median(&mut spans);
        let figure = Figure {
            name: "cluster start",
            measured: format!("{:.1} s", middle.as_secs_f64()),
            target: "≤ 10 s",
            met: middle <= Duration::from_secs(10),
            how: format!(
                "from an empty directory to a ready node, DNS and Service proxy; median of {STARTS}, slowest {:.1} s",
                slowest.as_secs_f64()
            ),
        };
        return Ok((figure, cluster));
    }
}

/// The operator as a pod, as users install it.
async fn install(cluster: &Cluster, root: &Path) -> Result<()> {
    let chart = root.join("charts/evenkeel").display().to_string();
    let namespace = "--namespace=evenkeel-system";
    cluster
        .helm(&[
            "install",
            "evenkeel",
            &chart,
            namespace,
            "--create-namespace",
            "--wait",
            "--timeout=1m",
        ])
        .await
        .map(drop)
}
