//! The cluster itself, with as few clusters as show that it can be relied on.
//! The tests run beside each other, and so do their clusters.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use evenkeel_cluster::{
    Cluster, Component, Endpoint, Fault, From, Identity, Options, Proxy, Rule, Signal,
    TestNamespace, images, until,
};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel-cluster");
const LIMIT: Duration = Duration::from_secs(30);
/// Not what a kubelet takes by itself.
const MAX_PODS: u32 = 42;

fn options(name: &str) -> Options {
    Options {
        supervisor: Some(BINARY.into()),
        max_endpoints_per_slice: Some(2),
        max_pods: MAX_PODS,
        ..Options::named(name)
    }
}

#[tokio::test]
async fn a_cluster_does_what_tests_need() -> Result<()> {
    let cluster = Cluster::start(options("itself")).await?;
    let outcome = everything(&cluster).await;
    outcome.with_context(|| format!("the logs are in {}", cluster.logs_dir().display()))
}

async fn everything(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace("itself").await?;
    dns_answers(cluster).await.context("DNS")?;
    the_node_takes_as_many_pods_as_told(cluster).await?;
    identities_and_audit(cluster, &namespace)
        .await
        .context("identities")?;
    pods_run(cluster, &namespace).await.context("pods")?;
    processes_run(cluster).await.context("processes")?;
    cuts_heal(cluster).await.context("cuts")?;
    let account = Identity::service_account(namespace.name(), "default");
    let proxy = cluster.proxy(&account).await?;
    the_proxy_counts_refuses_and_kills(cluster, &namespace, &proxy)
        .await
        .context("proxy")?;
    cluster.crash(Component::CoreDns).await.context("a crash")?;
    dns_answers(cluster).await.context("DNS after a crash")?;
    for component in [
        Component::Etcd,
        Component::ApiServer,
        Component::CoreDns,
        Component::KubeProxy,
    ] {
        let begin = Instant::now();
        cluster.restart(component).await?;
        eprintln!("{} was back after {:?}", component.name(), begin.elapsed());
    }
    cluster.restart(Component::Kubelet).await?;
    cluster.freeze(Component::Scheduler)?;
    let scheduler = cluster.state_dir().join("config/kube-scheduler");
    let scheduler = scheduler.to_string_lossy();
    // A signal takes effect when its process has a turn.
    until("the scheduler stands still", LIMIT, async || {
        let states = states(&scheduler)?;
        ensure!(states == ['T'], "{states:?}");
        Ok(Some(()))
    })
    .await?;
    cluster.thaw(Component::Scheduler).await?;
    cluster.helm(&["list", "--all-namespaces"]).await?;
    dns_answers(cluster).await.context("DNS after the faults")
}

async fn the_node_takes_as_many_pods_as_told(cluster: &Cluster) -> Result<()> {
    let pods = "jsonpath={.items[*].status.capacity.pods}";
    let taken = cluster.kubectl(&["get", "nodes", "-o", pods]).await?;
    ensure!(taken == MAX_PODS.to_string(), "{taken} pods");
    Ok(())
}

/// Asks over TCP, through the Service's address and thus through kube-proxy.
async fn dns_answers(cluster: &Cluster) -> Result<()> {
    let address = cluster.forward("10.96.0.10:53".parse()?).await?;
    until("an answer", LIMIT, async || {
        let answer = ask("kubernetes.default.svc.cluster.local", address).await?;
        Ok(answer.ends_with(&[10, 96, 0, 1]).then_some(()))
    })
    .await
}

async fn ask(name: &str, server: SocketAddr) -> Result<Vec<u8>> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(u16::try_from(query.len())?).await?;
    stream.write_all(&query).await?;
    let length = tokio::time::timeout(Duration::from_secs(1), stream.read_u16()).await??;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

async fn identities_and_audit(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    let since = Timestamp::now();
    let eve = Identity::User {
        name: "eve".to_owned(),
        groups: vec!["readers".to_owned(), "others".to_owned()],
    };
    let create = ["create", "configmap", "mine", "-n", namespace.name()];
    let refused = cluster.kubectl_output(&eve, &create, "").await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        said.contains(r#"User "eve" cannot create resource "configmaps""#),
        "{said}"
    );
    let groups = cluster
        .kubectl_with(
            &eve,
            &["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"],
            "",
        )
        .await?;
    ensure!(
        groups.contains("readers") && groups.contains("others"),
        "{groups}"
    );
    let writes = cluster.audit().writes_by("eve", since)?;
    let write = writes
        .iter()
        .find(|event| event.resource == "configmaps")
        .context("no write in the audit log")?;
    ensure!(
        write.verb == "create" && write.code == 403 && write.namespace == namespace.name(),
        "{write:?}"
    );
    let account = Identity::service_account(namespace.name(), "default");
    let name = cluster.kubectl_with(
        &account,
        &[
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
        ],
        "",
    );
    ensure!(name.await? == account.username());
    Ok(())
}

async fn pods_run(cluster: &Cluster, namespace: &TestNamespace) -> Result<()> {
    let image = "docker.io/evenkeel/waits:1";
    let dockerfile = cluster.state_dir().join("Dockerfile");
    std::fs::write(
        &dockerfile,
        "FROM scratch\nCOPY waits /waits\nUSER 65532:65532\nENTRYPOINT [\"/waits\", \"-P\"]\n",
    )?;
    let archive = images::build(
        image,
        &dockerfile,
        &[(Path::new("/usr/bin/catatonit"), "waits")],
    )?;
    cluster.import_image(&archive).await?;
    let pod = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: waits, namespace: {}}}
spec: {{containers: [{{name: waits, image: '{image}', imagePullPolicy: Never}}]}}",
        namespace.name()
    );
    cluster.apply(&pod).await?;
    cluster
        .kubectl(&[
            "wait",
            "-n",
            namespace.name(),
            "--for=condition=Ready",
            "pod/waits",
            "--timeout=30s",
        ])
        .await?;
    cluster
        .crash_container(namespace.name(), "waits", "waits")
        .await?;
    cluster
        .signal_container(namespace.name(), "waits", "waits", Signal::Stop)
        .await?;
    ensure!(states("/waits\0")? == ['T'], "{:?}", states("/waits\0")?);
    cluster
        .signal_container(namespace.name(), "waits", "waits", Signal::Cont)
        .await
}

async fn processes_run(cluster: &Cluster) -> Result<()> {
    let printed = cluster
        .run_in_net(
            Command::new("ip").args(["-o", "addr", "show", "br0"]),
            LIMIT,
        )
        .await?;
    ensure!(printed.contains("192.168.77.1"), "{printed}");
    let process = cluster.spawn_in_net("sleeper", Command::new("sleep").arg("1000"))?;
    ensure!(process.is_running());
    process.signal(Signal::Term)?;
    let state = process.wait(LIMIT).await?;
    ensure!(
        !state.success
            && state
                .exit
                .as_deref()
                .is_some_and(|exit| exit.contains("15")),
        "{state:?}"
    );
    Ok(())
}

async fn cuts_heal(cluster: &Cluster) -> Result<()> {
    let dns: SocketAddr = "192.168.77.1:53".parse()?;
    let address = cluster.forward(dns).await?;
    ask("kubernetes.default.svc.cluster.local", address).await?;
    let cut = cluster.cut(Endpoint::from(dns.ip()), dns.into()).await?;
    ensure!(
        ask("kubernetes.default.svc.cluster.local", address)
            .await
            .is_err(),
        "the cut lets packets through"
    );
    cut.heal().await?;
    ask("kubernetes.default.svc.cluster.local", address)
        .await
        .map(drop)
}

async fn the_proxy_counts_refuses_and_kills(
    cluster: &Cluster,
    namespace: &TestNamespace,
    proxy: &Proxy,
) -> Result<()> {
    let name = namespace.name();
    cluster
        .kubectl(&[
            "create",
            "rolebinding",
            "all",
            "-n",
            name,
            "--clusterrole=admin",
            &format!("--serviceaccount={name}:default"),
        ])
        .await?;
    let kubeconfig = cluster.kubeconfig_via(proxy, name, From::Inside)?;
    let kubectl = evenkeel_cluster::Components::build()?.kubernetes("kubectl");
    let program = |arguments: &[&str]| {
        let mut command = Command::new(&kubectl);
        command
            .args(arguments)
            .args(["--cache-dir", "/run/kubectl"])
            .env("KUBECONFIG", &kubeconfig);
        command
    };
    cluster
        .run_in_net(&program(&["create", "configmap", "a"]), LIMIT)
        .await?;
    ensure!(
        proxy.count(|seen| seen.verb == "create" && seen.resource == "configmaps") == 1,
        "{:?}",
        proxy.seen()
    );
    proxy.add(Rule::new(|seen| seen.verb == "list", Fault::Refuse(503)).times(1));
    ensure!(
        cluster
            .run_in_net(&program(&["get", "configmaps"]), LIMIT)
            .await
            .is_err(),
        "not refused"
    );
    let late = Duration::from_secs(1);
    proxy.add(Rule::new(|seen| seen.verb == "list", Fault::Delay(late)).times(1));
    let begin = Instant::now();
    cluster
        .run_in_net(&program(&["get", "configmaps"]), LIMIT)
        .await?;
    ensure!(begin.elapsed() >= late, "after {:?}", begin.elapsed());
    let watcher = cluster.spawn_in_net("watcher", &program(&["get", "configmaps", "--watch"]))?;
    until("the watch", LIMIT, async || {
        Ok(watcher.log_text()?.contains("kube-root-ca").then_some(()))
    })
    .await?;
    proxy.add(Rule::nth_write(2, Fault::KillAfter((&watcher).into())));
    cluster
        .run_in_net(&program(&["create", "configmap", "b"]), LIMIT)
        .await?;
    ensure!(watcher.is_running(), "killed too early");
    cluster
        .run_in_net(&program(&["create", "configmap", "c"]), LIMIT)
        .await?;
    watcher.wait(LIMIT).await?;
    cluster
        .kubectl(&["get", "configmap", "-n", name, "a", "b", "c"])
        .await
        .map(drop)
}

/// What each process does whose command line has this.
fn states(needle: &str) -> Result<Vec<char>> {
    let state = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        if !String::from_utf8_lossy(&line).contains(needle) {
            return None;
        }
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    Ok(std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(state)
        .collect())
}
