//! The definition as the API server takes it: the samples, what is refused with which words, and what kubectl makes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::ServicesReady;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Api;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Status};
use serde_json::Value;

use crate::bed::{Bed, SOON};
use crate::manifests;
use crate::tests;
use crate::world::{World, root};

tests![
    shared samples_are_accepted(90),
    shared invalid_samples_are_refused_in_these_words(120),
    shared kubectl_shows_columns_and_knows_the_names(60),
    shared kubectl_explains_the_fields(60),
    shared unseen_is_generation_minus_one(60),
];

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    // As kubectl reads a directory.
    files.sort();
    Ok(files)
}

async fn samples_are_accepted(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "samples").await?;
    let directory = root().join("config/samples");
    let directory = directory.to_str().context("a path that is not UTF-8")?;
    let count = files(Path::new(directory))?.len();
    ensure!(count >= 9, "only {count} samples");
    // With every field checked: a misspelt one is otherwise only dropped.
    let said = bed
        .kubectl(&["apply", "--validate=strict", "-f", directory])
        .await?;
    ensure!(
        said.lines().count() >= count && said.lines().all(|line| line.ends_with(" created")),
        "{said}"
    );
    // kubectl says `configured` where a list's entries have defaults, and sends a patch that changes nothing but the
    // record of who set what.
    let specs = [
        "get",
        "gb",
        "-o",
        "jsonpath={.items[*].spec} {.items[*].metadata.generation}",
    ];
    let before = bed.kubectl(&specs).await?;
    bed.kubectl(&["apply", "-f", directory]).await?;
    let after = bed.kubectl(&specs).await?;
    ensure!(before == after, "applied again, {before} became {after}");
    // What the demo applies one after the other.
    let demo = root().join("examples/demo").display().to_string();
    let strictly = ["apply", "--dry-run=server", "--validate=strict", "-f"];
    bed.kubectl(&[&strictly[..], &[&demo]].concat())
        .await
        .map(drop)
}

async fn invalid_samples_are_refused_in_these_words(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "invalid").await?;
    let directory = root().join("config/samples/invalid");
    let files = files(&directory)?;
    let directory = directory.to_str().context("a path that is not UTF-8")?;
    // YAML becomes JSON the way kubectl does it (there `Off` is a boolean), and all in one go.
    let read = bed
        .kubectl(&[
            "create",
            "--dry-run=client",
            "--validate=false",
            "-o",
            "json",
            "-f",
            directory,
        ])
        .await?;
    let objects = serde_json::Deserializer::from_str(&read)
        .into_iter::<Value>()
        .collect::<Result<Vec<_>, _>>()?;
    let objects: Vec<Value> = match objects.as_slice() {
        [list] if list["kind"] == "List" => list["items"].as_array().cloned().unwrap_or_default(),
        _ => objects,
    };
    ensure!(
        objects.len() == files.len(),
        "{} objects in {} files",
        objects.len(),
        files.len()
    );
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "evenkeel.dev",
        "v1alpha1",
        "GrpcBackend",
    ));
    let api: Api<DynamicObject> = Api::namespaced_with(bed.namespace.client(), bed.name(), &kind);
    let wrong: Vec<String> = stream::iter(files.iter().zip(objects))
        .map(|(file, object)| refusal(&api, file, object))
        .buffer_unordered(8)
        .try_filter_map(|wrong| std::future::ready(Ok(wrong)))
        .try_collect()
        .await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong with the refusal of a file, if anything.
async fn refusal(api: &Api<DynamicObject>, file: &Path, object: Value) -> Result<Option<String>> {
    let name = file.file_name().unwrap_or_default().display();
    let text = std::fs::read_to_string(file)?;
    let first = text.lines().next().unwrap_or_default();
    let Some(words) = first.strip_prefix("# refused: ") else {
        bail!("{name} does not begin with a line `# refused: <field>: <words>`");
    };
    let mut object: DynamicObject = serde_json::from_value(object)?;
    object.metadata.namespace = None;
    Ok(
        match api
            .create(
                &PostParams {
                    dry_run: true,
                    ..PostParams::default()
                },
                &object,
            )
            .await
        {
            Ok(_) => Some(format!("{name} is accepted")),
            Err(kube::Error::Api(status)) if status.code == 422 && says(&status, words) => None,
            Err(kube::Error::Api(status)) => Some(format!(
                "{name}: not {words:?} but {}: {}",
                status.code, status.message
            )),
            Err(error) => return Err(error.into()),
        },
    )
}

/// Whether these are said of the field before them; of a name the API server tells no field.
fn says(status: &Status, words: &str) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    match words.split_once(": ") {
        Some((field, words)) if field.starts_with("spec") => causes
            .into_iter()
            .any(|cause| cause.field == field && cause.message.contains(words)),
        _ => status.message.contains(words),
    }
}

async fn kubectl_shows_columns_and_knows_the_names(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "columns").await?;
    let definition = bed.object("crd/grpcbackends.evenkeel.dev").await?;
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .context("no columns")?;
    let named = |priority: i64| -> String {
        let of = |column: &&Value| column["priority"].as_i64().unwrap_or(0) == priority;
        let names = columns
            .iter()
            .filter(of)
            .filter_map(|column| column["name"].as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    let (always, wide) = (named(0), named(1));
    ensure!(
        always == "Ready Balance Pods Effective Max/Mean MaxAge Age",
        "{always}"
    );
    ensure!(
        wide == "Headless ClusterIP Starved RPS Findings Worst Message",
        "{wide}"
    );
    bed.apply(&manifests::backend("echo")).await?;
    for name in ["gb", "grpcbackend", "grpcbackends", "grpc"] {
        let listed = bed.kubectl(&["get", name, "-o", "name"]).await?;
        ensure!(
            listed.trim() == "grpcbackend.evenkeel.dev/echo",
            "kubectl get {name}: {listed}"
        );
    }
    Ok(())
}

async fn kubectl_explains_the_fields(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "explain").await?;
    for field in [
        "grpcbackend",
        "gb.spec",
        "grpcbackend.spec.connectionAge",
        "gb.spec.connectionAge.knob.env",
        "gb.status.balance",
    ] {
        let said = bed.kubectl(&["explain", field]).await?;
        ensure!(
            said.contains("DESCRIPTION:") && !said.contains("<empty>"),
            "{field}: {said}"
        );
    }
    let said = bed
        .kubectl(&["explain", "grpcbackend.spec.connectionAge"])
        .await?;
    for expected in [
        "maxAge\t<string> -required-",
        "grace",
        "knob\t<Object> -required-",
        "Enforce, Advise",
    ] {
        ensure!(said.contains(expected), "no {expected:?} in {said}");
    }
    Ok(())
}

async fn unseen_is_generation_minus_one(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "unseen").await?;
    bed.apply(&manifests::backend("echo")).await?;
    let status = bed.object("gb/echo").await?["status"].take();
    ensure!(status["observedGeneration"] == -1, "{status}");
    bed.start_operator(&[]).await?;
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    let status = bed.object("gb/echo").await?["status"].take();
    ensure!(status["observedGeneration"] == 1, "{status}");
    Ok(())
}
