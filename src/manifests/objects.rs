//! Documents to objects: those that rules speak of are kept with where they stand, others are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::node::{Content, Node};
use super::refused::refused;
use super::sets::Repeated;
use super::yaml::hint;
use crate::api::GrpcBackend;
use crate::findings::has_an_age;
use crate::observed::cluster_dns::{self, Corefile};
use crate::observed::{Autoscaler, Job, Observer, Workload};

/// Objects that are kept; of more than these nothing could be said in a time that anybody waits.
const MOST: usize = 20_000;

/// A file that is no manifest, as the values of a chart that are a template.
pub const OTHER: &str = "file without apiVersion";
/// What is counted as skipped where a directory is linked, which is not gone into.
pub const LINK: &str = "link to a directory";

/// Where an object stands.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file as it was named.
    pub file: Rc<str>,
    /// The object as it was written.
    pub node: Rc<Node>,
}

/// An object and where it stands.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The object.
    pub object: T,
    /// The namespace that it is in, or would be.
    pub namespace: String,
    /// Where it stands.
    pub source: Source,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1; 0 where no line is to blame.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A kind of which not everything is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlisted {
    /// The kind.
    pub kind: String,
    /// Why.
    pub why: String,
}

/// What matters of a ConfigMap.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// How a DNS server of the cluster is configured.
    pub corefile: Option<Corefile>,
}

/// Everything that was read.
#[derive(Debug)]
pub struct Objects {
    /// Who reads.
    pub observer: Observer,
    /// The backends that somebody wrote.
    pub backends: Vec<Placed<GrpcBackend>>,
    /// Deployments, StatefulSets and DaemonSets.
    pub workloads: Vec<Placed<Arc<Workload>>>,
    /// Services.
    pub services: Vec<Placed<Service>>,
    /// Pods.
    pub pods: Vec<Placed<Pod>>,
    /// ServiceAccounts.
    pub accounts: Vec<Placed<ServiceAccount>>,
    /// What is said of namespaces, each in itself. All backends of one share it.
    pub namespaces: Vec<Placed<Arc<ObjectMeta>>>,
    /// What scales workloads.
    pub autoscalers: Vec<Placed<Autoscaler>>,
    /// ConfigMaps that have a connection's age in them, and those of the cluster's DNS servers.
    pub configs: Vec<Placed<Config>>,
    /// Jobs and CronJobs.
    pub jobs: Vec<Placed<Job>>,
    /// Objects of other kinds, counted.
    pub skipped: BTreeMap<String, usize>,
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// Fields that do not count, since they are written again below.
    pub repeated: Vec<Repeated>,
    /// Kinds that a cluster did not show, or not all of them.
    pub unlisted: Vec<Unlisted>,
    /// Files that were named one by one, rather than found in a directory: they go with all others.
    pub named: BTreeSet<String>,
    /// Directories in which kustomize finds what to do.
    pub kustomized: BTreeSet<String>,
}

impl Default for Objects {
    /// None yet, to be read from files.
    fn default() -> Self {
        Self {
            observer: Observer::Manifests,
            backends: Vec::new(),
            workloads: Vec::new(),
            services: Vec::new(),
            pods: Vec::new(),
            accounts: Vec::new(),
            namespaces: Vec::new(),
            autoscalers: Vec::new(),
            configs: Vec::new(),
            jobs: Vec::new(),
            skipped: BTreeMap::new(),
            faults: Vec::new(),
            repeated: Vec::new(),
            unlisted: Vec::new(),
            named: BTreeSet::new(),
            kustomized: BTreeSet::new(),
        }
    }
}

impl Objects {
    /// None yet, to be listed from a cluster.
    pub fn of_cluster() -> Self {
        Self {
            observer: Observer::Visitor,
            ..Self::default()
        }
    }

    /// Whether objects of a kind would be here if there were any.
    pub fn knows(&self, kind: &str) -> bool {
        !self.unlisted.iter().any(|own| own.kind == kind)
    }

    /// How many objects are kept.
    pub fn len(&self) -> usize {
        self.backends.len()
            + self.workloads.len()
            + self.services.len()
            + self.pods.len()
            + self.accounts.len()
            + self.namespaces.len()
            + self.autoscalers.len()
            + self.configs.len()
            + self.jobs.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no object at all was read, not even one that is skipped or at fault.
    pub fn has_nothing(&self) -> bool {
        let mut others = self.skipped.keys();
        self.is_empty()
            && others.all(|kind| [OTHER, LINK].contains(&kind.as_str()))
            && self.faults.is_empty()
    }

    /// Takes one document in; `namespace` is that of objects which name none.
    pub fn add(&mut self, file: &Rc<str>, node: Rc<Node>, namespace: &str) {
        self.add_as(file, node, namespace, None);
    }

    /// The same for what may be of this kind and version without saying so, as the items of a list of one kind.
    fn add_as(
        &mut self,
        file: &Rc<str>,
        node: Rc<Node>,
        namespace: &str,
        unless_said: Option<(&str, &str)>,
    ) {
        let said = |field: &str| Some(node.get(field)?.text()?.to_owned());
        let kind = said("kind").or_else(|| Some(unless_said?.0.to_owned()));
        let group = said("apiVersion").or_else(|| Some(unless_said?.1.to_owned()));
        let (Some(kind), Some(group)) = (kind, group) else {
            // An empty document is none; values files and the like stand beside manifests.
            if node.get("kind").is_some() || node.get("apiVersion").is_some() {
                *self.skipped.entry("incomplete object".into()).or_default() += 1;
            }
            return;
        };
        if let (true, Some(items)) = (
            kind.ends_with("List"),
            node.get("items").and_then(|list| list.items()),
        ) {
            let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
            for item in items {
                let unless_said = of.map(|of| (of, group.as_str()));
                self.add_as(file, Rc::clone(item), namespace, unless_said);
            }
            return;
        }
        let line = node.line;
        let (known, written) = (self.len(), Rc::clone(&node));
        let told = if known < MOST {
            self.keep(
                &kind,
                &group,
                Source {
                    file: Rc::clone(file),
                    node,
                },
                namespace,
            )
        } else {
            Err(format!(
                "there are more than {MOST} objects, and those from here on are left out: check a part of them at a time"
            ))
        };
        let twice = (self.len() > known).then(|| written.written_twice());
        if let Some((key, line, again)) = twice.flatten() {
            self.repeated.push(Repeated {
                file: file.to_string(),
                line,
                object: format!("field {key} of a {kind}"),
                by: format!("{file}:{again}"),
            });
        }
        // That there are too many is said once.
        let is_new = |message: &String| {
            self.faults
                .last()
                .is_none_or(|last| last.message != *message)
        };
        if let Some(message) = told.err().filter(is_new) {
            self.faults.push(Fault {
                file: file.to_string(),
                line,
                message,
            });
        }
    }

    fn keep(
        &mut self,
        kind: &str,
        group: &str,
        source: Source,
        namespace: &str,
    ) -> Result<(), String> {
        let version = group;
        let group = group.split_once('/').map_or("", |(group, _)| group);
        match (group, kind) {
            ("evenkeel.dev", "GrpcBackend") => self.backend(kind, source, namespace)?,
            ("apps", "Deployment") => self
                .workloads
                .push(workload::<Deployment>(kind, source, namespace)?),
            ("apps", "StatefulSet") => self
                .workloads
                .push(workload::<StatefulSet>(kind, source, namespace)?),
            ("apps", "DaemonSet") => self
                .workloads
                .push(workload::<DaemonSet>(kind, source, namespace)?),
            ("", "Service") => self.services.push(placed(kind, source, namespace)?),
            ("", "Pod") => self.pods.push(placed(kind, source, namespace)?),
            ("", "ServiceAccount") => self.accounts.push(placed(kind, source, namespace)?),
            ("", "Namespace") => {
                let own = placed::<Namespace>(kind, source, namespace)?;
                self.namespaces.push(Placed {
                    namespace: own.object.name_any(),
                    object: Arc::new(own.object.metadata),
                    source: own.source,
                });
            }
            ("autoscaling", "HorizontalPodAutoscaler") => {
                let fields = ["minReplicas", "maxReplicas"];
                self.scaler("HorizontalPodAutoscaler", fields, (1, 1), source, namespace);
            }
            ("keda.sh", "ScaledObject") => {
                let fields = ["minReplicaCount", "maxReplicaCount"];
                self.scaler("ScaledObject", fields, (0, 100), source, namespace);
            }
            ("batch", "Job") => self.job("Job", source, namespace),
            ("batch", "CronJob") => self.job("CronJob", source, namespace),
            ("", "ConfigMap") if self.config(&source, namespace) => {}
            // Of an API that is gone, or of somebody else's.
            (_, "Deployment" | "StatefulSet" | "DaemonSet" | "Service") => {
                let kind = format!("{kind} of {version}");
                *self.skipped.entry(kind).or_default() += 1;
            }
            _ => *self.skipped.entry(kind.into()).or_default() += 1,
        }
        Ok(())
    }

    /// What runs was taken by an API server; what is written will be or not.
    fn backend(&mut self, kind: &str, source: Source, namespace: &str) -> Result<(), String> {
        let (file, node) = (source.file.to_string(), Rc::clone(&source.node));
        let read = placed::<GrpcBackend>(kind, source, namespace);
        if self.observer == Observer::Manifests {
            let told = refused(&node, read.as_ref().ok().map(|own| &own.object));
            let faults = told.into_iter().map(|(line, message)| Fault {
                file: file.clone(),
                line,
                message,
            });
            self.faults.extend(faults);
        }
        self.backends.push(read?);
        Ok(())
    }

    /// Keeps a ConfigMap if something in it matters.
    fn config(&mut self, source: &Source, namespace: &str) -> bool {
        let of = |field: &str| {
            let metadata = source.node.get("metadata")?;
            metadata.get(field)?.text().map(str::to_owned)
        };
        let name = of("name").unwrap_or_default();
        let namespace = of("namespace").unwrap_or_else(|| namespace.into());
        let is_dns = namespace == cluster_dns::NAMESPACE
            && cluster_dns::CONFIG_MAPS.contains(&name.as_str());
        let corefile = || {
            let data = source.node.get("data")?;
            Some(Corefile {
                name: name.clone(),
                text: data.get(cluster_dns::KEY)?.text()?.to_owned(),
            })
        };
        let corefile = is_dns.then(corefile).flatten();
        if corefile.is_none() && !has_an_age_in(&source.node) {
            return false;
        }
        self.configs.push(Placed {
            object: Config { name, corefile },
            namespace,
            source: source.clone(),
        });
        true
    }

    fn job(&mut self, kind: &'static str, source: Source, namespace: &str) {
        let value = source.node.value();
        let metadata = &value["metadata"];
        let name = metadata["name"].as_str();
        let name = name.or(metadata["generateName"].as_str());
        let spec = match kind {
            "CronJob" => &value["spec"]["jobTemplate"]["spec"],
            _ => &value["spec"],
        };
        let labels = spec["template"]["metadata"]["labels"].as_object();
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.into()));
        let object = Job {
            kind,
            name: name.unwrap_or_default().to_owned(),
            labels: labels.into_iter().flatten().filter_map(label).collect(),
        };
        let namespace = metadata["namespace"].as_str().unwrap_or(namespace);
        self.jobs.push(Placed {
            object,
            namespace: namespace.to_owned(),
            source,
        });
    }

    fn scaler(
        &mut self,
        kind: &'static str,
        [min, max]: [&str; 2],
        defaults: (i32, i32),
        source: Source,
        namespace: &str,
    ) {
        let value = source.node.value();
        let number = |field: &str, default| {
            let number = value["spec"][field].as_i64();
            number.map_or(default, |number| i32::try_from(number).unwrap_or(i32::MAX))
        };
        let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        let target = &value["spec"]["scaleTargetRef"];
        let object = Autoscaler {
            kind,
            name: text(&value["metadata"]["name"], ""),
            target_kind: text(&target["kind"], "Deployment"),
            target_name: text(&target["name"], ""),
            min: number(min, defaults.0),
            max: number(max, defaults.1),
        };
        let namespace = text(&value["metadata"]["namespace"], namespace);
        self.autoscalers.push(Placed {
            object,
            namespace,
            source,
        });
    }
}

impl Source {
    /// The line of a field, or of as much of its path as is written.
    pub fn line_of(&self, path: &str) -> usize {
        self.node.line_of(path)
    }
}

fn placed<T: DeserializeOwned + ResourceExt>(
    kind: &str,
    source: Source,
    namespace: &str,
) -> Result<Placed<T>, String> {
    let mut object: T = parsed(kind, &source)?;
    let namespace = object.namespace().unwrap_or_else(|| namespace.into());
    object.meta_mut().namespace = Some(namespace.clone());
    Ok(Placed {
        object,
        namespace,
        source,
    })
}

fn workload<T>(kind: &str, source: Source, namespace: &str) -> Result<Placed<Arc<Workload>>, String>
where
    T: DeserializeOwned + ResourceExt + Into<Workload>,
{
    let Placed {
        object,
        namespace,
        source,
    } = placed::<T>(kind, source, namespace)?;
    Ok(Placed {
        object: Arc::new(object.into()),
        namespace,
        source,
    })
}

fn has_an_age_in(config: &Node) -> bool {
    let Some(Content::Map(entries)) = config.get("data").map(|data| &data.content) else {
        return false;
    };
    let mut entries = entries.iter();
    entries.any(|(key, _, text)| has_an_age(key) || text.text().is_some_and(has_an_age))
}

/// What is said more of an object that has the texts of a template.
fn template(node: &Node) -> Option<&'static str> {
    match &node.content {
        Content::Scalar(value) => Some(hint(value.as_str()?)).filter(|hint| !hint.is_empty()),
        Content::List(items) => items.iter().find_map(|item| template(item)),
        Content::Map(entries) => entries.iter().find_map(|(_, _, value)| template(value)),
    }
}

/// What is wrong with a value, for those who write YAML.
fn in_words(error: &str) -> String {
    let bare = |text: &str| text.replace('`', "");
    if let Some(field) = error.strip_prefix("missing field ") {
        return format!("{} is missing", bare(field));
    }
    let Some((found, wanted)) = error.split_once(", expected ") else {
        return bare(error);
    };
    if let Some(value) = found.strip_prefix("unknown variant ") {
        let all = wanted.strip_prefix("one of ").unwrap_or(wanted);
        return format!("{} stands where there may be {}", bare(value), bare(all));
    }
    let Some((_, found)) = found
        .split_once(": ")
        .filter(|(what, _)| what.starts_with("invalid "))
    else {
        return bare(error);
    };
    let found = match found.split_once(' ') {
        Some(("integer" | "floating", number)) => {
            format!("the number {}", number.trim_start_matches("point "))
        }
        Some(("boolean", value)) => value.to_owned(),
        Some(("string", text)) => format!("the text {text}"),
        _ => match found {
            "sequence" => "a list".into(),
            "map" => "a map".into(),
            "null" => "nothing".into(),
            other => other.to_owned(),
        },
    };
    let wanted = match wanted {
        "a string" => "a text",
        "string or map" => "a word",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "i32" | "i64" | "u16" | "u32" | "u64" => "a whole number",
        other if other.contains("map") || other.starts_with("struct ") => "a map",
        other => other,
    };
    format!("{} stands where {wanted} belongs", bare(&found))
}

/// Words without quotes may be something else than texts.
fn unnamed(kind: &str, name: &Value) -> String {
    match name {
        Value::Bool(own) => format!(
            "{kind} has the metadata.name {own}, as YAML 1.1 reads y, n, yes, no, on and off too: put the name into quotes"
        ),
        Value::Number(own) => {
            format!("{kind} has the number {own} for metadata.name: put the name into quotes")
        }
        _ => format!("{kind} without metadata.name: give it one"),
    }
}

fn parsed<T: DeserializeOwned>(kind: &str, source: &Source) -> Result<T, String> {
    let value = source.node.value();
    let name = value["metadata"]["name"].as_str().map(str::to_owned);
    let name = name.or_else(|| {
        value["metadata"]["generateName"]
            .as_str()
            .map(str::to_owned)
    });
    let name = name.ok_or_else(|| unnamed(kind, &value["metadata"]["name"]))?;
    serde_json::from_value(value).map_err(|error| {
        let error: String = in_words(&error.to_string()).chars().take(200).collect();
        let hint = template(&source.node).unwrap_or_default();
        format!(
            "{kind} {name} is not one that the API server would take ({error}): mend that first{hint}"
        )
    })
}
