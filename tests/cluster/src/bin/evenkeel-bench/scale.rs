//! What the operator needs with many backends, while nothing changes.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use evenkeel_cluster::Cluster;
use serde_json::Value;
use tokio::time::sleep;

use crate::hollow::{self, Hollow};
use crate::memory::{REPLICAS, REST, backend, settle};
use crate::pages;
use crate::report::Figure;
use crate::usage::{Held, Used, operator_pid};

const BACKENDS: usize = 200;
/// The chart's limit of memory, 128 MiB, in MB.
pub const LIMIT: f64 = 134.0;
/// The chart's request of processor time, in thousandths of a core.
const REQUEST: f64 = 10.0;
/// The same with all the backends.
const BUSY: f64 = 50.0;

/// At rest without a backend, and with all of them.
pub async fn measure(cluster: &Cluster, root: &Path) -> Result<[Figure; 4]> {
    let _hollow = Hollow::add(cluster, root).await?;
    let pid = operator_pid(cluster).await?;
    let idle = Held::by(pid)?;
    eprintln!("processor time without backends, {} s", REST.as_secs());
    let idle_time = thousandths(pid, REST).await?;
    let idled = Held::by(pid)?;
    let alone = idle.all.max(idled.all);
    let objects: Vec<Value> = (0..BACKENDS)
        .flat_map(|number| {
            let [mut workload, backend] = backend(&format!("many-{number}"));
            hollow::place(&mut workload["spec"]["template"], pages::PAGES[0].0);
            [workload, backend]
        })
        .collect();
    settle(cluster, &objects, BACKENDS).await?;
    let settled = Held::by(pid)?;
    eprintln!("  at rest for {} s", REST.as_secs());
    let time = thousandths(pid, REST).await?;
    let rested = Held::by(pid)?;
    let megabytes = settled.all.max(rested.all);
    let pods = BACKENDS * REPLICAS;
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let each = (megabytes - alone) * 1000.0 / BACKENDS as f64;
    let span = REST.as_secs();
    Ok([
        Figure {
            name: "operator memory, no backend",
            measured: format!("{alone:.1} MB"),
            target: "≤ 20 MB",
            met: alone <= 20.0,
            how: format!(
                "resident set (VmRSS) of the operator's process in its pod: {:.1} MB at its start, {:.1} MB {span} s later, of these {:.1} MB the program's own code and tables",
                idle.all, idled.all, idled.mapped
            ),
        },
        Figure {
            name: "operator memory, 200 backends",
            measured: format!("{megabytes:.0} MB"),
            target: "≤ 134 MB, the chart's limit",
            met: megabytes <= LIMIT,
            how: format!(
                "the same with {BACKENDS} backends, each with an age and {REPLICAS} pods: {:.1} MB once all are ready with their age, {:.1} MB {span} s later, so that each backend adds {each:.0} kB. The {pods} pods are on a node without a kubelet; one program answers for their metrics",
                settled.all, rested.all
            ),
        },
        Figure {
            name: "operator CPU, no backend",
            measured: format!("{idle_time:.1} m"),
            target: "≤ 10 m, the chart's request",
            met: idle_time <= REQUEST,
            how: format!(
                "processor time over {span} s without a backend, in thousandths of a core"
            ),
        },
        Figure {
            name: "operator CPU, 200 backends",
            measured: format!("{time:.1} m"),
            target: "≤ 50 m",
            met: time <= BUSY,
            how: format!(
                "the same with these {BACKENDS} backends and {pods} pods, each read every 15 s (pages of 11 kB)"
            ),
        },
    ])
}

/// The measurement itself: processor time in thousandths of a core.
async fn thousandths(pid: u32, span: Duration) -> Result<f64> {
    let before = Used::by(pid)?;
    sleep(span).await;
    let spent = Used::by(pid)?.since(before).all;
    Ok(spent.as_secs_f64() / span.as_secs_f64() * 1000.0)
}
