//! What a finding shows to be copied, as the API server takes it, and what comes of it.

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

/// Each is tried on the very objects of which it is shown. With what the API server makes of them the finding is gone.
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
    let mut documents = Vec::new();
    let text = text.replace("shop", bed.name());
    read(text.as_bytes(), &Limits::default(), |node| {
        documents.push(node.value());
        Ok(())
    })?;
    // What is for another namespace would be there for all tests, and shows in the objects of this one.
    for mut document in documents.iter().filter(|own| is_in(&bed, own)).cloned() {
        // Nothing has to run.
        if let Some(replicas) = document.pointer_mut(REPLICAS) {
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
    let shown = if rule.is_measured() {
        vec![(String::new(), on_its_page(rule)?)]
    } else {
        shown(&bed, rule, &documents)?
    };
    ensure!(!shown.is_empty(), "{} shows nothing", rule.id);
    let (mut tried, mut refused) = (0, Vec::new());
    for (place, snippet) in shown.iter().filter(|(_, own)| !own.starts_with('#')) {
        tried += 1;
        let effect = if rule.is_measured() {
            changes(&bed, snippet).await
        } else {
            mends(&bed, rule, &documents, (place.as_str(), snippet.as_str())).await
        };
        if let Err(error) = effect {
            refused.push(format!("{}: {error:#}:\n{snippet}", rule.id));
        }
    }
    Ok((tried, refused))
}

const REPLICAS: &str = "/spec/replicas";

fn is_in(bed: &Bed, document: &Value) -> bool {
    let namespace = document.pointer("/metadata/namespace");
    namespace.is_none_or(|own| own == bed.name())
}

/// Fails if nothing is another by it.
async fn changes(bed: &Bed, snippet: &str) -> Result<()> {
    let said = taken(bed, snippet, &[]).await?;
    let is_unchanged = |line: &str| line.contains("(no change)") || line.contains(" unchanged");
    ensure!(!said.lines().all(is_unchanged), "{said}");
    Ok(())
}

/// Fails if the finding is still there, with what the API server would make of it in place of the object.
async fn mends(
    bed: &Bed,
    rule: &Rule,
    documents: &[Value],
    (place, snippet): (&str, &str),
) -> Result<()> {
    let mut mended: Value = serde_json::from_str(&taken(bed, snippet, &["-o", "json"]).await?)?;
    let is_same = |own: &Value, field: &str| own.pointer(field) == mended.pointer(field);
    let (before, mut others): (Vec<Value>, Vec<Value>) =
        documents.iter().cloned().partition(|own| {
            is_in(bed, own) && is_same(own, "/kind") && is_same(own, "/metadata/name")
        });
    // As many as there would be, if nothing but them had to run.
    let replicas = before.iter().find_map(|own| own.pointer(REPLICAS));
    if let (Some(mended), Some(replicas)) = (mended.pointer_mut(REPLICAS), replicas)
        && *mended == 0
    {
        *mended = replicas.clone();
    }
    others.push(mended);
    let left = shown(bed, rule, &others)?;
    let is_left = left.iter().any(|(own, _)| own == place);
    ensure!(!is_left, "with it {} is still found", rule.id);
    Ok(())
}

/// Where a rule finds something, and what to write instead.
fn shown(bed: &Bed, rule: &Rule, documents: &[Value]) -> Result<Vec<(String, String)>> {
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    let mut objects = Objects::default();
    let text = documents.join("\n---\n");
    read(text.as_bytes(), &Limits::default(), |node| {
        objects.add(&"example".into(), node, bed.name());
        Ok(())
    })?;
    let found = backends(&objects).into_iter().flat_map(|own| {
        let found = ask(&own.observed).found;
        found.into_iter().filter(|(own, _)| own.id == rule.id)
    });
    let seen = found.flat_map(|(_, seen)| seen);
    let shown = seen.map(|own| (format!("{} {}", own.place, own.place.path), own.remedy));
    Ok(shown.collect())
}

fn on_its_page(rule: &Rule) -> Result<String> {
    let page = fs::read_to_string(root().join(rule.page()))?;
    let (_, shown) = page
        .split_once("To write instead:\n\n```yaml\n")
        .context("nothing to write instead")?;
    let (snippet, _) = shown.split_once("```").context("no end")?;
    Ok(snippet.to_owned())
}

/// A whole object is applied, and fields are a patch of the object that they are of; what comes of it is printed so.
async fn taken(bed: &Bed, snippet: &str, output: &[&str]) -> Result<String> {
    let how = [&["--dry-run=server"][..], output].concat();
    if snippet.starts_with("apiVersion:") {
        let apply = ["apply", "--validate=strict", "-f", "-"];
        return bed
            .kubectl_with(&[&apply[..], &how].concat(), snippet)
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
    let merged = match kind {
        "GrpcBackend" | "Service" => "--type=merge",
        _ => "--type=strategic",
    };
    let (name, file) = (name.as_str().context("no name")?, "--patch-file=/dev/stdin");
    let patch = ["patch", kind, name, merged, file];
    bed.kubectl_with(&[&patch[..], &how].concat(), snippet)
        .await
}
