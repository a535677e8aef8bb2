//! Objects as far as it matters whether two are one.

use std::path::{Path, PathBuf};

use kube::ResourceExt as _;

use super::objects::{Objects, Placed, Source};
use crate::observed::labels;

/// An object, as far as it matters here.
pub struct Item<'a> {
    /// Its place among all.
    pub at: usize,
    /// None for what overlays change of an object, which is none by itself.
    pub identity: Option<Identity<'a>>,
    /// Where it stands.
    pub source: &'a Source,
    /// The directories that its file is in; none for a file that was named by itself.
    pub within: Option<Vec<String>>,
}

/// Kind, namespace and name.
pub type Identity<'a> = (&'static str, &'a str, String);

impl Item<'_> {
    /// Whether its file is one of the directory itself that is this deep.
    pub fn is_in(&self, depth: usize) -> bool {
        self.within
            .as_ref()
            .is_none_or(|within| within.len() <= depth)
    }

    /// The directory that is this deep.
    pub fn place(&self, depth: usize) -> String {
        let parts = self.within.iter().flatten().take(depth);
        parts.collect::<PathBuf>().display().to_string()
    }
}

/// All objects, in an order of their own.
pub fn items<'a>(objects: &'a Objects) -> Vec<Item<'a>> {
    let mut all = Vec::new();
    let mut add = |identity: Option<Identity<'a>>, source: &'a Source| all.push((identity, source));
    for own in &objects.backends {
        add(
            Some(("GrpcBackend", &own.namespace, own.object.name_any())),
            &own.source,
        );
    }
    for own in &objects.workloads {
        let whole = labels(&own.object.template).is_some();
        let identity = (
            own.object.kind.as_str(),
            own.namespace.as_str(),
            own.object.name().to_owned(),
        );
        add(whole.then_some(identity), &own.source);
    }
    for own in &objects.services {
        let whole = own
            .object
            .spec
            .as_ref()
            .is_some_and(|spec| spec.selector.is_some() || spec.external_name.is_some());
        add(
            whole.then(|| ("Service", own.namespace.as_str(), own.object.name_any())),
            &own.source,
        );
    }
    for own in &objects.pods {
        let named = own.object.metadata.name.is_some();
        add(
            named.then(|| ("Pod", own.namespace.as_str(), own.object.name_any())),
            &own.source,
        );
    }
    for own in &objects.accounts {
        add(
            Some(("ServiceAccount", &own.namespace, own.object.name_any())),
            &own.source,
        );
    }
    for own in &objects.namespaces {
        add(
            Some(("Namespace", &own.namespace, own.namespace.clone())),
            &own.source,
        );
    }
    for own in &objects.autoscalers {
        let whole = !own.object.name.is_empty() && !own.object.target_name.is_empty();
        add(
            whole.then(|| {
                (
                    own.object.kind,
                    own.namespace.as_str(),
                    own.object.name.clone(),
                )
            }),
            &own.source,
        );
    }
    for own in &objects.configs {
        let identity = ("ConfigMap", own.namespace.as_str(), own.object.name.clone());
        add(Some(identity), &own.source);
    }
    for own in &objects.jobs {
        let whole = own
            .source
            .node
            .get("metadata")
            .and_then(|own| own.get("name"))
            .is_some();
        let identity = (
            own.object.kind,
            own.namespace.as_str(),
            own.object.name.clone(),
        );
        add(whole.then_some(identity), &own.source);
    }
    let within = |source: &Source| {
        let named = objects.named.contains(source.file.as_ref());
        (!named).then(|| directories(&source.file))
    };
    let numbered = all.into_iter().enumerate();
    numbered
        .map(|(at, (identity, source))| Item {
            at,
            identity,
            source,
            within: within(source),
        })
        .collect()
}

fn directories(file: &str) -> Vec<String> {
    let parent = Path::new(file).parent().unwrap_or(Path::new(""));
    let parts = parent.components();
    parts
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect()
}

/// Those of the objects that are at these places among all.
pub fn only(objects: &Objects, places: &[usize]) -> Objects {
    let mut at = 0..;
    let backends = those(&objects.backends, places, &mut at);
    let workloads = those(&objects.workloads, places, &mut at);
    let services = those(&objects.services, places, &mut at);
    let pods = those(&objects.pods, places, &mut at);
    let accounts = those(&objects.accounts, places, &mut at);
    let namespaces = those(&objects.namespaces, places, &mut at);
    let autoscalers = those(&objects.autoscalers, places, &mut at);
    let configs = those(&objects.configs, places, &mut at);
    let jobs = those(&objects.jobs, places, &mut at);
    Objects {
        observer: objects.observer,
        backends,
        workloads,
        services,
        pods,
        accounts,
        namespaces,
        autoscalers,
        configs,
        jobs,
        ..Objects::default()
    }
}

fn those<T: Clone>(
    all: &[Placed<T>],
    places: &[usize],
    at: &mut impl Iterator<Item = usize>,
) -> Vec<Placed<T>> {
    let numbered = all.iter().zip(at);
    let kept = numbered.filter(|(_, at)| places.binary_search(at).is_ok());
    kept.map(|(own, _)| own.clone()).collect()
}
