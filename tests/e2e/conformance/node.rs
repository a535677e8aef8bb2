//! What the node counts: packets to the DNS server by client, and open connections by pod. Each is asked again until it answers: a
//! moment's failure is no reason to give up servers and clients that took minutes to set up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::{Cluster, until};
use serde_json::Value;

use crate::bed::SOON;
use crate::client::get;
use crate::manifests::PORT;

/// Where CoreDNS shows its metrics, in the cluster's network.
const COREDNS: ([u8; 4], u16) = ([127, 0, 0, 1], 9153);
/// Of every pod, what its processes show of their network.
const SOCKETS: &str =
    "cat /proc/[0-9]*/net/tcp /proc/[0-9]*/net/tcp6 2>/dev/null | grep ' 01 ' | sort -u";

/// Counts packets to the DNS server, from now on, until it is dropped with its cluster.
pub struct Dns {
    table: String,
}

impl Dns {
    /// Of the clients with these addresses, which are of one namespace.
    pub async fn count(cluster: &Cluster, namespace: &str, clients: &[Ipv4Addr]) -> Result<Self> {
        // Another in each run: what a run that was given up has left is no matter.
        let now = jiff::Timestamp::now().as_millisecond();
        let table = format!("dns-{namespace}-{now}");
        let rules = clients.iter().fold(String::new(), |rules, ip| {
            rules + &format!("add rule ip {table} out ip saddr {ip} udp dport 53 counter; ")
        });
        // Before kube-proxy rewrites the destination; the source is the same throughout.
        let chain = "{ type filter hook prerouting priority -300; }";
        let words = format!("add table ip {table}; add chain ip {table} out {chain}; {rules}");
        until("packets are being counted", SOON, async || {
            nft(cluster, &words).await.map(Some)
        })
        .await?;
        Ok(Self { table })
    }

    /// So far, in the order of the clients.
    pub async fn so_far(&self, cluster: &Cluster) -> Result<Vec<u64>> {
        let words = format!("list chain ip {} out", self.table);
        let printed = until("the packets are counted", SOON, async || {
            nft(cluster, &words).await.map(Some)
        })
        .await?;
        let listed: Value = serde_json::from_str(&printed)?;
        let parts = listed["nftables"].as_array().context("no list")?.iter();
        Ok(parts
            .filter_map(|part| part["rule"]["expr"].as_array())
            .filter_map(|expressions| {
                let mut counters = expressions.iter();
                counters.find_map(|part| part["counter"]["packets"].as_u64())
            })
            .collect())
    }

    /// Counts no more.
    pub async fn end(self, cluster: &Cluster) -> Result<()> {
        nft(cluster, &format!("delete table ip {}", self.table))
            .await
            .map(drop)
    }
}

async fn nft(cluster: &Cluster, words: &str) -> Result<String> {
    let mut command = Command::new("nft");
    command.args(["--json", words]);
    cluster.run_in_net(&command, SOON).await
}

/// Queries since CoreDNS started, by its own count.
pub async fn queries(cluster: &Cluster) -> Result<f64> {
    let page = until("CoreDNS tells its count", SOON, async || {
        let address = cluster.forward(COREDNS.into()).await?;
        let (status, page) = get(address, "/metrics").await?;
        ensure!(status == 200, "it says {status}");
        Ok(Some(page))
    })
    .await?;
    Ok(page
        .lines()
        .filter(|line| line.starts_with("coredns_dns_requests_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

/// Open connections to servers, by the address of the client.
pub async fn connections(cluster: &Cluster) -> Result<BTreeMap<Ipv4Addr, u64>> {
    let mut command = Command::new("sh");
    command.args(["-c", SOCKETS]);
    let text = until("the connections are counted", SOON, async || {
        cluster.run_in_net(&command, SOON).await.map(Some)
    })
    .await?;
    // Each is shown by every process of the pod.
    let pairs: BTreeSet<_> = text.lines().filter_map(connection).collect();
    let mut counted = BTreeMap::new();
    for (_, client, _) in pairs {
        *counted.entry(client).or_default() += 1;
    }
    Ok(counted)
}

/// A line of /proc/net/tcp or tcp6 that is a server's end: the server, the client and its port.
fn connection(line: &str) -> Option<(Ipv4Addr, Ipv4Addr, u16)> {
    let mut words = line.split_whitespace().skip(1);
    let (server, port) = end(words.next()?)?;
    let (client, client_port) = end(words.next()?)?;
    (i32::from(port) == PORT && words.next()? == "01").then_some((server, client, client_port))
}

/// `0100007F:1F90`, with more in front of it where it is IPv6: the last four bytes, the least of them first.
fn end(word: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = word.split_once(':')?;
    let last = address.get(address.len().checked_sub(8)?..)?;
    let address = u32::from_str_radix(last, 16).ok()?.swap_bytes();
    Some((address.into(), u16::from_str_radix(port, 16).ok()?))
}
