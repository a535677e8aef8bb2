//! Who dials: what a node counts.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::bed::{Bed, SOON};
use crate::pods::ip;

/// Connections to the metrics port of the present pods, counted by the node.
pub struct Dials<'a> {
    bed: &'a Bed,
    table: String,
}

impl<'a> Dials<'a> {
    /// From now on.
    pub async fn count(bed: &'a Bed) -> Result<Self> {
        let table = format!("dials-{}-{}", bed.name(), Timestamp::now().as_millisecond());
        let pods = bed.pods("app=echo").await?;
        let addresses: Vec<String> = pods
            .iter()
            .map(|pod| Ok(ip(pod)?.to_string()))
            .collect::<Result<_>>()?;
        ensure!(addresses.len() == 2, "{addresses:?}");
        let dials = Self { bed, table };
        let chain = "{ type filter hook output priority 0; }";
        let pods = format!("{{ {} }}", addresses.join(", "));
        let table = &dials.table;
        dials.nft(&format!("add table ip {table}; add chain ip {table} out {chain}; add rule ip {table} out ip daddr {pods} tcp dport 9090 tcp flags syn counter")).await?;
        Ok(dials)
    }

    async fn nft(&self, words: &str) -> Result<String> {
        let mut command = Command::new("nft");
        command.args(["--json", words]);
        self.bed.world.cluster.run_in_net(&command, SOON).await
    }

    /// Until now.
    pub async fn so_far(&self) -> Result<u64> {
        let printed = self
            .nft(&format!("list chain ip {} out", self.table))
            .await?;
        let listed: Value = serde_json::from_str(&printed)?;
        let parts = listed["nftables"].as_array().context("no list")?.iter();
        parts
            .filter_map(|part| part["rule"]["expr"].as_array())
            .flatten()
            .find_map(|part| part["counter"]["packets"].as_u64())
            .with_context(|| format!("no counter in {printed}"))
    }
}
