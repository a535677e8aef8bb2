//! What a finding shows to be copied, as the API server takes it.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::findings::{CATALOGUE, Rule, ask};
use evenkeel::manifests::{Limits, Objects, backends, read};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use crate::bed::Bed;
use crate::tests;
use crate::world::{World, root};

tests![shared what_is_shown_to_copy_is_taken(300)];

/// Each is tried on the very objects of which it is shown, and none changes nothing.
async fn what_is_shown_to_copy_is_taken(world: Arc<World>) -> Result<()> {
    let all = CATALOGUE.iter().map(|rule| try_out(&world, rule));
    let tried: Vec<_> = stream::iter(all).buffer_unordered(4).try_collect().await?;
    let (tried, refused): (Vec<usize>, Vec<Vec<String>>) = tried.into_iter().unzip();
    let refused = refused.concat();
    ensure!(refused.is_empty(), "{}", refused.join("\n"));
    let tried: usize = tried.into_iter().sum();
    ensure!(tried >= 25, "only {tried} are no comments");
    Ok(())
}

/// How many of a rule's snippets there were to try, and what was refused or without effect.
async fn try_out(world: &Arc<World>, rule: &Rule) -> Result<(usize, Vec<String>)> {
    let bed = Bed::without_operator(world, &rule.id.to_lowercase()).await?;
    // Only metrics show it: then the page has what is shown.
    let example = if rule.is_measured() {
        "healthy-pair.yaml".to_owned()
    } else {
        format!("rules/{}.yaml", rule.id)
    };
    let text = fs::read_to_string(root().join("tests/corpus").join(example))?;
    let text = text.replace("shop", bed.name());
    let mut objects = Objects::default();
    let mut documents = Vec::new();
    read(text.as_bytes(), &Limits::default(), |node| {
        documents.push(node.value());
        objects.add(&"example".into(), node, bed.name());
        Ok(())
    })?;
    // What is for another namespace would be there for all tests, and shows in the objects of this one.
    let own = |document: &Value| {
        let namespace = document.pointer("/metadata/namespace");
        namespace.is_none_or(|own| own == bed.name())
    };
    for mut document in documents.into_iter().filter(own) {
        // Nothing has to run.
        let replicas = document.pointer_mut("/spec/replicas");
        if let Some(replicas) = replicas {
            *replicas = 0.into();
        }
        // As the page's example has it.
        let age = document.pointer_mut("/spec/connectionAge");
        if let (true, Some(Value::Object(age))) = (rule.is_measured(), age) {
            age.remove("grace");
            age.insert("maxAge".into(), "30s".into());
        }
        let document = document.to_string();
        let applied = bed.kubectl_with(&["apply", "-f", "-"], &document);
        if let Err(error) = applied.await {
            return Ok((0, vec![format!("the example of {}: {error:#}", rule.id)]));
        }
    }
    let snippets = if rule.is_measured() {
        vec![on_its_page(rule)?]
    } else {
        shown(rule, &objects)
    };
    ensure!(!snippets.is_empty(), "{} shows nothing", rule.id);
    let (mut tried, mut refused) = (0, Vec::new());
    for snippet in snippets.iter().filter(|own| !own.starts_with('#')) {
        tried += 1;
        let said = match taken(&bed, snippet).await {
            Ok(said) if !said.lines().all(is_unchanged) => continue,
            Ok(said) => said,
            Err(error) => format!("{error:#}"),
        };
        refused.push(format!("{}: {said}:\n{snippet}", rule.id));
    }
    Ok((tried, refused))
}

/// As kubectl says it of a patch, and of a whole object.
fn is_unchanged(line: &str) -> bool {
    line.contains("(no change)") || line.contains(" unchanged")
}

fn shown(rule: &Rule, objects: &Objects) -> Vec<String> {
    let found = backends(objects).into_iter().flat_map(|own| {
        let found = ask(&own.observed).found;
        found.into_iter().filter(|(own, _)| own.id == rule.id)
    });
    let seen = found.flat_map(|(_, seen)| seen);
    seen.map(|own| own.remedy).collect()
}

fn on_its_page(rule: &Rule) -> Result<String> {
    let page = fs::read_to_string(root().join(rule.page()))?;
    let (_, shown) = page
        .split_once("To write instead:\n\n```yaml\n")
        .context("nothing to write instead")?;
    let (snippet, _) = shown.split_once("```").context("no end")?;
    Ok(snippet.to_owned())
}

/// A whole object is applied, and fields are a patch of the object that they are of.
async fn taken(bed: &Bed, snippet: &str) -> Result<String> {
    let dry = "--dry-run=server";
    if snippet.starts_with("apiVersion:") {
        return bed
            .kubectl_with(&["apply", dry, "--validate=strict", "-f", "-"], snippet)
            .await;
    }
    let mut read_again: Option<Value> = None;
    read(snippet.as_bytes(), &Limits::default(), |node| {
        read_again = Some(node.value());
        Ok(())
    })?;
    let object = read_again.context("no YAML")?;
    let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
    let kind = kind.as_str().context("no kind")?;
    // Lists of a resource of our own are replaced, and those of a Service would be merged by what is to be changed in them.
    let how = match kind {
        "GrpcBackend" | "Service" => "--type=merge",
        _ => "--type=strategic",
    };
    let (name, file) = (name.as_str().context("no name")?, "--patch-file=/dev/stdin");
    bed.kubectl_with(&["patch", kind, name, dry, how, file], snippet)
        .await
}
