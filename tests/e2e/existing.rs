//! Services that are there already, and ours when somebody else touches them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel::api::ConditionType::{Ready, ServicesReady};
use evenkeel_cluster::until;
use serde_json::{Value, json};

use crate::bed::{Bed, SOON};
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![
    shared a_matching_service_is_used_as_it_is(90),
    shared an_incompatible_service_is_left_alone(180),
    shared use_existing_waits_for_the_service(90),
    shared what_is_not_wanted_is_not_made(90),
    shared ours_comes_back(90),
    shared labels_and_annotations_follow_the_spec(90),
];

async fn a_matching_service_is_used_as_it_is(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "existing").await?;
    bed.apply(&manifests::service("echo")).await?;
    let version = bed.version("service/echo").await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    let message = bed.message("echo", ServicesReady).await?;
    ensure!(
        message.contains("Service echo is used as it is"),
        "{message}"
    );
    let named = json!({"clusterIP": "echo", "headless": "echo-headless"});
    bed.becomes("gb/echo", "/status/services", &named).await?;

    // Labels asked for are for a Service of ours.
    let labels = json!({"spec": {"services": {"clusterIP": {"labels": {"team": "shop"}}}}});
    bed.patch("gb/echo", &labels).await?;
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    ensure!(
        bed.version("service/echo").await? == version,
        "the owner's Service was written"
    );

    let mut headless = manifests::service("theirs");
    headless["spec"]["clusterIP"] = "None".into();
    headless["spec"]["selector"] = json!({"app": "echo"});
    bed.apply(&headless).await?;
    let theirs = json!({"spec": {"services": {"headless": {"name": "theirs"}}}});
    bed.patch("gb/echo", &theirs).await?;
    bed.reason("echo", ServicesReady, "Existing", SOON).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    // The twin of before is not asked for any more.
    bed.gone("service/echo-headless").await?;

    bed.kubectl(&["delete", "gb", "echo", "--wait"]).await?;
    ensure!(
        bed.version("service/echo").await? == version,
        "the owner's Service was written"
    );
    ensure!(
        bed.exists("service/theirs").await?,
        "the owner's Service went with the backend"
    );
    Ok(())
}

/// One of the two alone is enough; what is no longer wanted goes.
async fn what_is_not_wanted_is_not_made(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "one-of-two").await?;
    let mut backend = manifests::backend("echo");
    backend["spec"]["services"] = json!({"clusterIP": {"policy": "None"}});
    bed.apply(&backend).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    ensure!(!bed.exists("service/echo").await?, "it was made");
    let only = json!({"headless": "echo-headless"});
    bed.becomes("gb/echo", "/status/services", &only).await?;
    let status = bed.backend("echo").await?.status.unwrap_or_default();
    let targets = status.targets;
    ensure!(
        targets
            .iter()
            .all(|own| own.dns.is_some() && own.cluster_ip.is_none()),
        "{targets:?}"
    );
    backend["spec"]["services"] = json!({"headless": {"policy": "None"}});
    bed.apply(&backend).await?;
    let only = json!({"clusterIP": "echo"});
    bed.becomes("gb/echo", "/status/services", &only).await?;
    bed.gone("service/echo-headless").await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    Ok(())
}

async fn an_incompatible_service_is_left_alone(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "conflict").await?;
    let mut other_pods = manifests::service("echo");
    other_pods["spec"]["selector"] = json!({"app": "something-else"});
    let mut other_port = manifests::service("echo");
    other_port["spec"]["ports"][0]["targetPort"] = 9999.into();
    let mut headless = manifests::service("echo");
    headless["spec"]["clusterIP"] = "None".into();
    let mut with_address = manifests::service("echo-headless");
    with_address["spec"]["selector"] = json!({"app": "echo"});
    for (service, field, why) in [
        (other_pods, "spec.services.clusterIP.name", "spec.selector"),
        (other_port, "spec.services.clusterIP.name", "port 8080"),
        (headless, "spec.services.clusterIP.name", "is headless"),
        (
            with_address,
            "spec.services.headless.name",
            "has a clusterIP",
        ),
    ] {
        conflict(&bed, &service, field, why).await?;
    }
    Ok(())
}

async fn conflict(bed: &Bed, service: &Value, field: &str, why: &str) -> Result<()> {
    let object = format!(
        "service/{}",
        service["metadata"]["name"].as_str().unwrap_or_default()
    );
    bed.apply(service).await?;
    let version = bed.version(&object).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", ServicesReady, "NameConflict", SOON)
        .await?;
    bed.reason("echo", Ready, "NameConflict", SOON).await?;
    let message = bed.message("echo", ServicesReady).await?;
    ensure!(
        message.contains(why) && message.contains(field),
        "{message}"
    );
    // What the message says helps.
    let names = json!({"clusterIP": {"name": "other"}, "headless": {"name": "other-pods"}});
    bed.patch("gb/echo", &json!({"spec": {"services": names}}))
        .await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    ensure!(
        bed.version(&object).await? == version,
        "the owner's {object} was written"
    );
    // Once the name is free it is taken.
    bed.kubectl(&["delete", "gb/echo", &object]).await?;
    for child in [
        "service/other",
        "service/other-pods",
        "service/echo",
        "service/echo-headless",
    ] {
        bed.gone(child).await?;
    }
    Ok(())
}

async fn use_existing_waits_for_the_service(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "use").await?;
    let mut backend = manifests::backend("echo");
    backend["spec"]["services"] =
        json!({"clusterIP": {"policy": "UseExisting"}, "headless": {"policy": "None"}});
    bed.apply(&backend).await?;
    bed.reason("echo", ServicesReady, "ServiceNotFound", SOON)
        .await?;
    let message = bed.message("echo", ServicesReady).await?;
    ensure!(
        message.contains("Service echo") && message.contains("spec.services.clusterIP.policy"),
        "{message}"
    );
    ensure!(
        !bed.exists("service/echo").await? && !bed.exists("service/echo-headless").await?,
        "a Service was made"
    );

    let mut service = manifests::service("echo");
    service["spec"]["selector"] = json!({"app": "something-else"});
    bed.apply(&service).await?;
    bed.reason("echo", ServicesReady, "SelectorMismatch", SOON)
        .await?;
    bed.apply(&manifests::service("echo")).await?;
    bed.reason("echo", ServicesReady, "Existing", SOON).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    bed.kubectl(&["delete", "service", "echo"]).await?;
    bed.reason("echo", ServicesReady, "ServiceNotFound", SOON)
        .await?;
    ours_becomes_theirs(&bed, &backend).await
}

/// Who lets the operator make a Service and then says that it exists keeps it, also when the backend goes.
async fn ours_becomes_theirs(bed: &Bed, existing: &Value) -> Result<()> {
    let manage = json!({"spec": {"services": {"clusterIP": {"policy": "Manage"}}}});
    bed.patch("gb/echo", &manage).await?;
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    let before = bed.object("service/echo").await?;
    bed.apply(existing).await?;
    bed.reason("echo", ServicesReady, "Existing", SOON).await?;
    bed.becomes("service/echo", "/metadata/ownerReferences", &Value::Null)
        .await?;
    bed.kubectl(&["delete", "gb", "echo", "--cascade=foreground"])
        .await?;
    let after = bed.object("service/echo").await?;
    ensure!(after["spec"] == before["spec"], "{after}");
    ensure!(after["metadata"]["labels"] == Value::Null, "{after}");
    Ok(())
}

async fn ours_comes_back(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "back").await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    for service in ["service/echo", "service/echo-headless"] {
        let before = bed.object(service).await?;
        bed.kubectl(&["delete", service]).await?;
        let anew = until(&format!("{service} is there again"), SOON, async || {
            Ok(Some(bed.object(service).await?))
        })
        .await?;
        ensure!(
            anew["metadata"]["uid"] != before["metadata"]["uid"],
            "{service} was not deleted"
        );
        ensure!(
            anew["spec"]["selector"] == before["spec"]["selector"],
            "{anew}"
        );

        put_right(&bed, service, &anew).await?;
    }
    // What others add is theirs.
    bed.kubectl(&["annotate", "service", "echo", "example.com/theirs=1"])
        .await?;
    bed.patch(
        "gb/echo",
        &json!({"spec": {"ports": [{"name": "grpc", "port": 81, "targetPort": 8080}]}}),
    )
    .await?;
    bed.becomes("service/echo", "/spec/ports/0/port", &json!(81))
        .await?;
    let service = bed.object("service/echo").await?;
    ensure!(
        service["metadata"]["annotations"]["example.com/theirs"] == "1",
        "{service}"
    );
    Ok(())
}

/// Whatever is edited by hand becomes what it was, in place.
async fn put_right(bed: &Bed, service: &str, was: &Value) -> Result<()> {
    let track = json!({"spec": {"selector": {"app": "echo", "track": "canary"}}});
    let port = json!({"spec": {"ports": [{"name": "grpc", "port": 8080, "targetPort": 9999}]}});
    let labels = json!({"metadata": {"labels": {"evenkeel.dev/service": "neither", "evenkeel.dev/backend": null}}});
    for (part, edit) in [
        ("/spec/selector", track),
        ("/spec/ports", port),
        ("/metadata/labels", labels),
    ] {
        bed.patch(service, &edit).await?;
        bed.becomes(service, part, was.pointer(part).unwrap_or(&Value::Null))
            .await?;
    }
    let now = bed.object(service).await?;
    ensure!(
        now["metadata"]["uid"] == was["metadata"]["uid"],
        "an edit had {service} made anew"
    );
    ensure!(
        now["spec"]["clusterIP"] == was["spec"]["clusterIP"],
        "{now}"
    );
    Ok(())
}

async fn labels_and_annotations_follow_the_spec(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "labels").await?;
    let mut backend = manifests::backend("echo");
    let given = json!({"labels": {"team": "shop", "tier": "back"}, "annotations": {"example.com/a": "1", "example.com/b": "2"}});
    backend["spec"]["services"] = json!({"clusterIP": given, "headless": given});
    bed.apply(&backend).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    carry(
        &bed,
        &json!({"team": "shop", "tier": "back"}),
        &json!({"example.com/a": "1", "example.com/b": "2"}),
    )
    .await?;

    let fewer = json!({"labels": {"team": "shop", "tier": null}, "annotations": {"example.com/a": "3", "example.com/b": null}});
    bed.patch(
        "gb/echo",
        &json!({"spec": {"services": {"clusterIP": fewer, "headless": fewer}}}),
    )
    .await?;
    carry(
        &bed,
        &json!({"team": "shop"}),
        &json!({"example.com/a": "3"}),
    )
    .await?;

    bed.patch("gb/echo", &json!({"spec": {"services": null}}))
        .await?;
    carry(&bed, &json!({}), &json!({})).await?;
    Ok(())
}

/// Both Services carry exactly these besides the operator's own labels.
async fn carry(bed: &Bed, labels: &Value, annotations: &Value) -> Result<()> {
    for (service, side) in [
        ("service/echo", "clusterip"),
        ("service/echo-headless", "headless"),
    ] {
        let mut all = json!({"app.kubernetes.io/managed-by": "evenkeel", "evenkeel.dev/backend": "echo", "evenkeel.dev/service": side});
        for (key, value) in labels.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        // The endpoints controller adds this one to headless Services.
        until(
            &format!("{service} carries {labels} and {annotations}"),
            SOON,
            async || {
                let mut metadata = bed.object(service).await?["metadata"].take();
                let mut live = metadata["labels"].take();
                live.as_object_mut()
                    .and_then(|live| live.remove("service.kubernetes.io/headless"));
                ensure!(live == all, "it has the labels {live}");
                let live = metadata
                    .get("annotations")
                    .cloned()
                    .unwrap_or_else(|| json!({}));
                ensure!(live == *annotations, "it has the annotations {live}");
                Ok(Some(()))
            },
        )
        .await?;
    }
    Ok(())
}
