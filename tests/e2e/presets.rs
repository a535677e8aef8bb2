//! Knobs by the name of a server, and the flag whose value is a list.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel::api::GrpcBackend;
use evenkeel::presets::{self, Takes};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::age::{takes_effect, with_knob};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, same};
use crate::tests;
use crate::world::World;

tests![
    shared a_list_is_extended_and_restored(200),
    shared a_server_without_a_knob_is_told_so(60),
    shared every_preset_is_accepted_also_written_out(90),
];

const AGE: &str = "grpc.max_connection_age_ms=30000";

async fn a_list_is_extended_and_restored(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "list").await?;
    let cases = [
        (
            "absent",
            "TensorFlowServing",
            json!(["--listen=:8080"]),
            json!(["--listen=:8080", format!("--grpc_channel_arguments={AGE}")]),
        ),
        (
            "apart",
            "OpenVINOModelServer",
            json!(["--listen=:8080"]),
            json!(["--listen=:8080", "--grpc_channel_arguments", AGE]),
        ),
        (
            "merged",
            "TensorFlowServing",
            json!(["--grpc_channel_arguments", "b=2,a=1", "--listen=:8080"]),
            json!([
                "--grpc_channel_arguments",
                format!("b=2,a=1,{AGE}"),
                "--listen=:8080"
            ]),
        ),
    ];
    for (name, preset, args, _) in &cases {
        let mut deployment = manifests::server(name, 1);
        manifests::container(&mut deployment)["args"] = args.clone();
        bed.apply(&deployment).await?;
        bed.rolled_out(name).await?;
        bed.apply(&with_knob(name, "30s", &json!({"preset": preset})))
            .await?;
    }
    for (name, _, args, expected) in &cases {
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        let template = bed.template(name).await?;
        same(&template["spec"]["containers"][0]["args"], expected)?;
        takes_effect(&bed, name, "--grpc_channel_arguments").await?;
        bed.change(name, &json!({"connectionAge": null})).await?;
        bed.reason(name, ConnectionAgeApplied, "NotRequested", ROLLOUT)
            .await?;
        let template = bed.template(name).await?;
        same(&template["spec"]["containers"][0]["args"], args)?;
        bed.rolled_out(name).await?;
    }
    bed.finish().await
}

async fn a_server_without_a_knob_is_told_so(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "no-knob").await?;
    bed.echo(1).await?;
    let before = bed.template("echo").await?;
    for (preset, words) in [
        ("Etcd", "give clients the addresses of all members"),
        ("OtelCollector", "max_connection_age: 30s}"),
    ] {
        bed.apply(&with_knob("echo", "30s", &json!({"preset": preset})))
            .await?;
        bed.reason("echo", ConnectionAgeApplied, "NoKnob", SOON)
            .await?;
        let said = bed.message("echo", ConnectionAgeApplied).await?;
        ensure!(
            said.contains(&format!("preset {preset} ")) && said.contains(words),
            "{said}"
        );
    }
    same(&bed.template("echo").await?, &before)?;
    bed.finish().await
}

async fn every_preset_is_accepted_also_written_out(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "presets").await?;
    let api: Api<GrpcBackend> = bed.namespace.api();
    let try_out = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for server in presets::all() {
        let mut knobs = vec![json!({"preset": server.name})];
        if let Some(Takes::Knob(knob)) = server.takes() {
            knobs.push(serde_json::to_value(knob)?);
        }
        for knob in knobs {
            let backend: Value = with_knob("echo", "30s", &knob);
            let backend = serde_json::from_value(backend)?;
            api.create(&try_out, &backend)
                .await
                .with_context(|| format!("preset {}: {knob}", server.name))?;
        }
    }
    Ok(())
}
