//! The figures that Evenkeel promises, measured on a real Kubernetes: `make bench`. Never part of the tests, since
//! they depend on the machine.

mod check;
mod children;
mod foreign;
mod hollow;
mod memory;
mod pages;
mod report;
mod sampler;
mod scale;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use evenkeel_cluster::{Cluster, Components, Options, images, install_missing, source_dir};

use hollow::Hollow;
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
            outcome = asked() => outcome,
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

/// What the arguments ask for: without any all of it is measured.
async fn asked() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [pages::SERVE, address, directory] => {
            pages::serve(address.parse()?, Path::new(directory)).await
        }
        [] => {
            let bench = Bench::prepare().await?;
            bench.figures().await?;
            bench.sampler().await
        }
        ["figures"] => Bench::prepare().await?.figures().await,
        ["many"] => {
            let figures = Bench::prepare().await?.many().await?;
            println!("{}", report::table(&figures, true));
            Ok(())
        }
        ["sampler"] => Bench::prepare().await?.sampler().await,
        _ => {
            bail!("give figures, sampler, many (of the figures, only printed), or nothing for all")
        }
    }
}

/// What is measured.
struct Bench {
    root: PathBuf,
    operator: PathBuf,
    workloads: [PathBuf; 2],
}

impl Bench {
    async fn prepare() -> Result<Self> {
        let root = source_dir()
            .join("../..")
            .canonicalize()
            .context("find the repository")?;
        eprintln!("building what is missing");
        let built = tokio::task::spawn_blocking(|| {
            install_missing()?;
            Components::build()?;
            anyhow::Ok((images::operator()?, images::workloads()?))
        });
        let (operator, workloads) = built.await??;
        Ok(Self {
            root,
            operator,
            workloads,
        })
    }

    /// Writes docs/benchmarks.md.
    async fn figures(&self) -> Result<()> {
        let mut figures = vec![image(&self.operator)?];
        eprintln!("manifests checked");
        figures.extend(check::measure(&self.root)?);
        let (start, cluster) = start().await?;
        let measured = self.small(&cluster).await;
        figures.splice(0..0, measured.with_context(|| logs(&cluster))?);
        figures.push(start);
        drop(cluster);
        figures.extend(self.many().await?);
        report::write(&self.root, &figures)
    }

    async fn small(&self, cluster: &Cluster) -> Result<[Figure; 2]> {
        for image in &self.workloads {
            cluster.import_image(image).await?;
        }
        self.install(cluster, &[]).await?;
        eprintln!("children of {} backends", children::APPLIES);
        let children = children::measure(cluster).await?;
        eprintln!("memory with {} backends", memory::BACKENDS);
        Ok([children, memory::measure(cluster).await?])
    }

    /// With many backends, and with none among many objects of others.
    async fn many(&self) -> Result<Vec<Figure>> {
        let mut figures = Vec::from(self.backends().await?);
        figures.push(self.foreign().await?);
        Ok(figures)
    }

    async fn foreign(&self) -> Result<Figure> {
        let cluster = Cluster::start(hollow::options("bench-foreign")).await?;
        let measured = async {
            let _hollow = Hollow::add(&cluster, &self.root).await?;
            eprintln!("memory among objects of others");
            foreign::make(&cluster).await?;
            self.install(&cluster, &[]).await?;
            foreign::measure(&cluster).await
        };
        measured.await.with_context(|| logs(&cluster))
    }

    async fn backends(&self) -> Result<[Figure; 4]> {
        let cluster = Cluster::start(hollow::options("bench-many")).await?;
        let measured = async {
            // They need not take turns here: it is not their rollouts that are measured.
            self.install(&cluster, &["--set=maxConcurrentRollouts=200"])
                .await?;
            scale::measure(&cluster, &self.root).await
        };
        measured.await.with_context(|| logs(&cluster))
    }

    /// Writes docs/benchmarks-sampler.md.
    async fn sampler(&self) -> Result<()> {
        let cluster = Cluster::start(hollow::options("bench-sampler")).await?;
        let measured = sampler::measure(&cluster, &self.root).await;
        measured.with_context(|| logs(&cluster))
    }

    /// The operator as a pod, as users install it.
    async fn install(&self, cluster: &Cluster, values: &[&str]) -> Result<()> {
        cluster.import_image(&self.operator).await?;
        let chart = self.root.join("charts/evenkeel").display().to_string();
        let namespace = "--namespace=evenkeel-system";
        let install = [
            "install",
            "evenkeel",
            &chart,
            namespace,
            "--create-namespace",
            "--wait",
            "--timeout=1m",
        ];
        cluster.helm(&[&install, values].concat()).await.map(drop)
    }
}

fn logs(cluster: &Cluster) -> String {
    format!("the logs are in {}", cluster.logs_dir().display())
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
