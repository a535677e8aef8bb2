//! What reading the metrics of many pods costs, beside a real Prometheus that reads the same pods at the same time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::{Cluster, From, Identity, Process, grpc_backends, prometheus, until};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::hollow::{self, Hollow};
use crate::memory::says;
use crate::pages;
use crate::report::head;
use crate::usage::{Held, Used, pid_by};

/// Backends, and pods of each: 500 pods.
const BACKENDS: usize = 10;
const REPLICAS: usize = 50;
const PODS: usize = BACKENDS * REPLICAS;
const INTERVAL: &str = "5s";
/// The measurement itself.
const SPAN: Duration = Duration::from_mins(1);
const LIMIT: Duration = Duration::from_mins(5);
/// What is promised beside Prometheus.
const PROMISED: f64 = 5.0;

/// Reads the pods.
struct Reader {
    name: &'static str,
    pid: u32,
    /// Without anything to read, in MB.
    empty: f64,
    /// What it asks for begins with this, and ends so: who it is.
    query: &'static str,
    /// Held so that it goes on.
    #[expect(dead_code, reason = "it ends when it is dropped")]
    process: Process,
    directory: Option<PathBuf>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// What one of them needed for one page.
struct Cost {
    name: &'static str,
    scrapes: f64,
    /// Processor time for one, in microseconds.
    each: f64,
    /// The kernel's part of that.
    kernel: f64,
    /// Kilobytes for a pod, at the end.
    pod: f64,
}

/// Measures page after page, and writes docs/benchmarks-sampler.md.
pub async fn measure(cluster: &Cluster, root: &Path) -> Result<()> {
    let hollow = Hollow::add(cluster, root).await?;
    let operator = operator(cluster, root).await?;
    let mut measured = Vec::new();
    for (name, ..) in pages::PAGES {
        eprintln!("500 pods with pages of {name}");
        cluster.apply(&objects(name).to_string()).await?;
        let addresses = addresses(cluster).await?;
        let others = [
            server(cluster, "all", 9191, name, &addresses).await?,
            server(cluster, "kept", 9192, name, &addresses).await?,
        ];
        let [all, kept] = &others;
        measured.push(costs(cluster, &hollow, name, [&operator, all, kept]).await?);
        judged(cluster).await?;
    }
    let text = page(&hollow.sizes, &measured)?;
    println!("{text}");
    let file = root.join("docs/benchmarks-sampler.md");
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    eprintln!("written to docs/benchmarks-sampler.md");
    Ok(())
}

/// The image's program in the same place as Prometheus: a pod's network would cost more for each connection.
async fn operator(cluster: &Cluster, root: &Path) -> Result<Reader> {
    let definition = root.join("crds").display().to_string();
    cluster
        .kubectl(&["apply", "--filename", &definition])
        .await?;
    let established = "--for=condition=Established";
    let crd = "crd/grpcbackends.evenkeel.dev";
    cluster
        .kubectl(&["wait", established, crd, "--timeout=30s"])
        .await?;
    let kubeconfig = cluster
        .kubeconfig_for(&Identity::Admin, From::Inside)
        .await?;
    let program = root.join("dist/evenkeel");
    let mut command = Command::new(&program);
    command
        .args(["run", "--watch-namespaces=default"])
        .args([
            "--metrics-address=127.0.0.1:9180",
            "--health-address=127.0.0.1:9181",
        ])
        .env("KUBECONFIG", kubeconfig);
    let process = cluster.spawn_in_net("operator", &command)?;
    let ready = async || hollow::ask(cluster, 9181, "GET /readyz").await.map(Some);
    until("the operator is ready", LIMIT, ready).await?;
    let pid = pid_by(
        "cmdline",
        &format!("{}\0run\0--watch-namespaces=default", program.display()),
    )?;
    Ok(Reader {
        name: "**Evenkeel**",
        pid,
        empty: Held::by(pid)?.all,
        query: "",
        process,
        directory: None,
    })
}

fn objects(page: &str) -> Value {
    let pair = |number: usize| {
        let name = format!("read-{number}");
        let labels = json!({"app": name});
        let mut template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{
            "name": "server", "image": "hollow", "ports": [
                {"name": "grpc", "containerPort": 8080}, {"name": "metrics", "containerPort": hollow::PORT},
            ],
        }]}});
        hollow::place(&mut template, pages::PAGES[0].0);
        [
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template},
            }),
            json!({
                "apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": name},
                "spec": {
                    "selector": labels, "ports": [{"port": 8080}],
                    "balance": {"interval": INTERVAL, "metrics": {"path": format!("/{page}")}},
                },
            }),
        ]
    };
    let items: Vec<Value> = (0..BACKENDS).flat_map(pair).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

async fn addresses(cluster: &Cluster) -> Result<Vec<String>> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client().await?);
    until("every pod has its address", LIMIT, async || {
        let pods = pods.list(&ListParams::default()).await?;
        let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.clone();
        let addresses: Vec<String> = pods.iter().filter_map(address).collect();
        ensure!(addresses.len() == PODS, "{} have", addresses.len());
        Ok(Some(addresses))
    })
    .await
}

/// Prometheus: first without targets, then with them.
async fn server(
    cluster: &Cluster,
    kind: &'static str,
    port: u16,
    page: &str,
    addresses: &[String],
) -> Result<Reader> {
    let directory = cluster
        .state_dir()
        .join(format!("prometheus-{kind}-{page}"));
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, "{}")?;
    let flag = format!("--config.file={}", file.display());
    let mut command = Command::new(prometheus()?);
    command
        .arg(&flag)
        .arg(format!("--storage.tsdb.path={}/data", directory.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--web.enable-lifecycle", "--log.level=warn"])
        .env("HOME", &directory);
    let process = cluster.spawn_in_net(&format!("prometheus-{kind}"), &command)?;
    let what = "Prometheus is ready";
    let ready = async || hollow::ask(cluster, port, "GET /-/ready").await.map(Some);
    until(what, LIMIT, ready).await?;
    let pid = pid_by("cmdline", &flag)?;
    let empty = Held::by(pid)?.all;
    let targets: Vec<String> = addresses
        .iter()
        .map(|address| format!("{address}:{}", hollow::PORT))
        .collect();
    let mut job = json!({
        "job_name": "pods", "metrics_path": format!("/{page}"), "params": {"by": [kind]},
        "scrape_interval": INTERVAL, "scrape_timeout": "2s", "static_configs": [{"targets": targets}],
    });
    if kind == "kept" {
        let rule = json!({"source_labels": ["__name__"], "regex": "grpc_server_started_total", "action": "keep"});
        job["metric_relabel_configs"] = json!([rule]);
    }
    std::fs::write(&file, json!({"scrape_configs": [job]}).to_string())?;
    hollow::ask(cluster, port, "POST /-/reload").await?;
    let (name, query) = match kind {
        "kept" => ("Prometheus, one family kept", "?by=kept"),
        _ => ("Prometheus", "?by=all"),
    };
    Ok(Reader {
        name,
        pid,
        empty,
        query,
        process,
        directory: Some(directory),
    })
}

/// All read beside each other, so that whatever else the machine does meets all of them.
async fn costs(
    cluster: &Cluster,
    hollow: &Hollow,
    page: &str,
    readers: [&Reader; 3],
) -> Result<Vec<Cost>> {
    let asked = async || -> Result<Vec<f64>> {
        let counts = hollow.counts(cluster).await?;
        let count = |reader: &&Reader| counts[format!("/{page}{}", reader.query)].as_f64();
        let counts = readers.iter().map(|reader| count(reader).unwrap_or(0.0));
        Ok(counts.collect())
    };
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let pods = PODS as f64;
    until("all have read every pod four times", LIMIT, async || {
        let counts = asked().await?;
        ensure!(
            counts.iter().all(|count| *count >= 4.0 * pods),
            "{counts:?}"
        );
        Ok(Some(()))
    })
    .await?;
    let times =
        || -> Result<Vec<Used>> { readers.iter().map(|reader| Used::by(reader.pid)).collect() };
    let (counts, before) = (asked().await?, times()?);
    eprintln!("  measuring for {} s", SPAN.as_secs());
    sleep(SPAN).await;
    let (later, after) = (asked().await?, times()?);
    let cost = |(number, reader): (usize, &&Reader)| {
        let scrapes = later[number] - counts[number];
        let spent = after[number].since(before[number]);
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / scrapes;
        Ok(Cost {
            name: reader.name,
            scrapes,
            each: each(spent.all),
            kernel: each(spent.kernel),
            pod: (Held::by(reader.pid)?.all - reader.empty) * 1000.0 / pods,
        })
    };
    readers.iter().enumerate().map(cost).collect()
}

/// What was read was good for a verdict.
async fn judged(cluster: &Cluster) -> Result<()> {
    let api = grpc_backends(cluster.client().await?, "default");
    until("every backend is found balanced", LIMIT, async || {
        let all = api.list(&ListParams::default()).await?;
        let good = all.iter().filter(|backend| {
            says(&backend.data, "MetricsAvailable", "Scraped")
                && says(&backend.data, "Balanced", "Balanced")
        });
        let good = good.count();
        ensure!(good == BACKENDS, "{good} of {BACKENDS} are");
        Ok(Some(()))
    })
    .await
}

fn page(sizes: &[usize], measured: &[Vec<Cost>]) -> Result<String> {
    let mut text = format!(
        "# What reading the pods costs\n\n{head}\n\n\
         The operator's program, as it is in the image, and two servers of Prometheus 2.42 (Debian's) read the same {PODS} pods at the same time, each pod\n\
         every {INTERVAL}, for {span} s: one keeps every series, as it does by default, one only `grpc_server_started_total`. The pods are {BACKENDS}\n\
         Deployments of {REPLICAS} on a node without a kubelet; one program answers for all of them, with pages that go-grpc-middleware\n\
         wrote, whose numbers rise, packed for who asks for that: Prometheus always, Evenkeel from 32 kB on. All three keep their connections, and\n\
         run on the node's own network. Processor time is that of the whole process by /proc: of the operator with\n\
         its judging of {BACKENDS} backends and its watches. Memory is what it holds above what it held with no pod, after some minutes: Prometheus keeps\n\
         two hours of samples there. Promised: {PROMISED:.0} times as many pods a core as Prometheus.\n",
        head = head("on a real Kubernetes")?,
        span = SPAN.as_secs(),
    );
    for (((name, ..), bytes), costs) in pages::PAGES.iter().zip(sizes).zip(measured) {
        let _ = write!(
            text,
            "\n| pages of {name} ({bytes} bytes) | scrapes in {} s | CPU a scrape | the kernel's part | pods a second and core | memory a pod | |\n|---|---|---|---|---|---|---|\n",
            SPAN.as_secs()
        );
        let own = costs.first().map_or(f64::NAN, |cost| cost.each);
        for Cost {
            name,
            scrapes,
            each,
            kernel,
            pod,
        } in costs
        {
            let times = each / own;
            let beside = match *name {
                "Prometheus" if times >= PROMISED => format!("{times:.1} times ours; kept"),
                "Prometheus" => format!("{times:.1} times ours; **missed**"),
                _ if times > 1.0 => format!("{times:.1} times ours"),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "| {name} | {scrapes:.0} | {each:.0} µs | {kernel:.0} µs | {:.0} | {pod:.0} kB | {beside} |",
                1e6 / each
            );
        }
    }
    Ok(text)
}
