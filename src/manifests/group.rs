//! Objects to backends, each with the world that rules look at.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::guess::{Guess, guess};
use super::objects::{Config, Objects, Placed, Source};
use super::sets::Sets;
use crate::api::GrpcBackend;
use crate::findings::Place;
use crate::names;
use crate::observed::{
    Autoscaler, Caller, ClusterDns, Observed, Optional, Watching, Workload, cluster_dns, selects,
};
use crate::services;

/// What all backends may hold, by the weight of the objects: an object that many of them select is there for each. It is far above
/// what a hundred megabytes of manifests make where each object is one backend's.
const MOST: usize = 256 << 20;
/// What it takes at least to know of an object.
const LEAST: usize = 64;
/// As many clients as a GrpcBackend may name; that there are more is said of the resource.
const CLIENTS: usize = 64;

/// One backend of the manifests.
pub struct Backend {
    /// Its world.
    pub observed: Observed,
    /// Where nobody wrote a GrpcBackend: how it was guessed.
    pub how: Option<String>,
    /// Where objects stand several times over, as for several environments: the directory of those it was seen in.
    pub set: Option<String>,
    /// It and those before it hold so much that it was left out: of its world nothing is known.
    pub is_left_out: bool,
    /// What it holds.
    weight: usize,
    /// Where the GrpcBackend stands, or what it was guessed from.
    main: Source,
    /// Where the others stand.
    sources: Vec<Standing>,
}

/// Where an object stands, by kind, namespace, if that is another one, and name.
type Standing = (&'static str, Option<String>, String, Source);

impl Backend {
    /// Where it stands itself, or what it was guessed from.
    pub fn main(&self) -> (&str, usize) {
        (&self.main.file, self.main.line_of(""))
    }

    /// Where a place is written: the file and the line.
    pub fn locate(&self, place: &Place) -> (&str, usize) {
        let Some(name) = &place.name else {
            // A path of a GrpcBackend leads nowhere in what it was guessed from.
            let path = if self.how.is_some() { "" } else { &place.path };
            return (&self.main.file, self.main.line_of(path));
        };
        let mut sources = self.sources.iter();
        let source = sources.find(|(kind, namespace, known, _)| {
            *kind == place.kind && *namespace == place.namespace && known == name
        });
        let source = source.map_or(&self.main, |(.., source)| source);
        (&source.file, source.line_of(&place.path))
    }
}

impl Backend {
    /// The documents that it was made of.
    fn made_of(&self) -> Vec<usize> {
        let others = self.sources.iter().map(|(.., source)| source);
        let all = std::iter::once(&self.main).chain(others);
        all.map(|source| Rc::as_ptr(&source.node).addr()).collect()
    }
}

/// How much more the backends may hold.
struct Room(usize);

impl Room {
    /// Takes the place of an object that weighs so much; once there is none, there is none for any other.
    fn take(&mut self, weight: usize) -> bool {
        let left = self.0.checked_sub(weight.max(LEAST));
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Every backend, those that somebody wrote first, each by namespace and name.
pub fn backends(objects: &Objects) -> Vec<Backend> {
    within(objects, MOST)
}

/// The same, holding no more than this together.
pub(super) fn within(objects: &Objects, most: usize) -> Vec<Backend> {
    let mut room = Room(most);
    let sets = Sets::of(objects);
    if sets.is_one() {
        return of_set(objects, &mut room);
    }
    let mut all: Vec<Backend> = Vec::new();
    let mut known: HashMap<Vec<usize>, (usize, usize)> = HashMap::new();
    let mut sets_cut = 0;
    for set in sets.cut(objects) {
        sets_cut += 1;
        for mut backend in of_set(&set.objects, &mut room) {
            match known.entry(backend.made_of()) {
                // What several of them share is told once.
                Entry::Occupied(mut at) => {
                    at.get_mut().1 += 1;
                    room.0 += backend.weight;
                }
                Entry::Vacant(place) => {
                    place.insert((all.len(), 1));
                    backend.set.clone_from(&set.of);
                    all.push(backend);
                }
            }
        }
    }
    for (place, times) in known.into_values() {
        let set = &mut all[place].set;
        *set = match times {
            1 => continue,
            _ if times == sets_cut => None,
            _ => set
                .take()
                .map(|first| format!("{first} and {} more", times - 1)),
        };
    }
    // Those of one name stay in the order of their sets.
    all.sort_by_cached_key(order);
    all
}

fn order(backend: &Backend) -> (bool, String) {
    (
        backend.how.is_some(),
        names::key_of(&backend.observed.backend),
    )
}

/// The same for objects of which none stands twice.
fn of_set(objects: &Objects, room: &mut Room) -> Vec<Backend> {
    let is_known = |workload: &Placed<Arc<Workload>>| {
        let mut backends = objects.backends.iter();
        backends.any(|backend| {
            backend.namespace == workload.namespace
                && workload.object.is_selected(&backend.object.spec.selector)
        })
    };
    let guesses = guess(objects, is_known);
    let mut all = Vec::new();
    for backend in &objects.backends {
        all.push(written(objects, backend, room));
    }
    for guess in guesses {
        all.extend(guessed(objects, guess, room));
    }
    add_callers(objects, &mut all, room);
    all.sort_by_cached_key(order);
    all
}

fn written(objects: &Objects, placed: &Placed<GrpcBackend>, room: &mut Room) -> Backend {
    let backend = &placed.object;
    let service = |name: Option<String>| {
        let (name, mut all) = (name?, objects.services.iter());
        all.find(|own| own.namespace == placed.namespace && own.object.name_any() == name)
    };
    // What the spec disclaims is somebody else's, whatever its name.
    let wanted = services::names(backend);
    let pair = [wanted.cluster_ip, wanted.headless].map(service);
    world(objects, backend, pair, placed.source.clone(), room)
}

fn guessed(objects: &Objects, guess: Guess<'_>, room: &mut Room) -> Option<Backend> {
    let main = guess.cluster_ip.or(guess.headless)?.source.clone();
    let mut made = world(
        objects,
        &guess.backend,
        [guess.cluster_ip, guess.headless],
        main,
        room,
    );
    made.observed.guessed = true;
    made.observed.peers = guess.peers;
    made.how = Some(guess.how);
    Some(made)
}

fn world(
    objects: &Objects,
    backend: &GrpcBackend,
    pair: [Option<&Placed<Service>>; 2],
    main: Source,
    room: &mut Room,
) -> Backend {
    let left = room.0;
    let mut sources = Vec::new();
    let known = surroundings(objects, backend, pair, &main, &mut sources, room);
    let is_left_out = known.is_none();
    if is_left_out {
        sources.clear();
    }
    Backend {
        observed: known.unwrap_or_else(|| Observed {
            backend: backend.clone(),
            ..Observed::default()
        }),
        how: None,
        set: None,
        is_left_out,
        weight: if is_left_out { 0 } else { left - room.0 },
        main,
        sources,
    }
}

/// None where there is no room for it.
fn surroundings(
    objects: &Objects,
    backend: &GrpcBackend,
    pair: [Option<&Placed<Service>>; 2],
    main: &Source,
    sources: &mut Vec<Standing>,
    room: &mut Room,
) -> Option<Observed> {
    let namespace = backend.namespace().unwrap_or_default();
    let selector = &backend.spec.selector;
    let workloads = kept(&objects.workloads, &namespace, sources, room, |own| {
        own.is_selected(selector)
            .then(|| (own.kind.as_str(), own.name().to_owned()))
    })?;
    let workloads: Vec<Workload> = workloads.into_iter().map(Arc::unwrap_or_clone).collect();
    let scales = |own: &Autoscaler| workloads.iter().any(|workload| own.scales(workload));
    let autoscalers = kept(&objects.autoscalers, &namespace, sources, room, |own| {
        scales(own).then(|| (own.kind, own.name.clone()))
    })?;
    let read: BTreeSet<&str> = workloads.iter().flat_map(Workload::config_maps).collect();
    let configs = kept(&objects.configs, &namespace, sources, room, |own| {
        read.contains(own.name.as_str())
            .then(|| ("ConfigMap", own.name.clone()))
    })?;
    let jobs = kept(&objects.jobs, &namespace, sources, room, |own| {
        selects(selector, &own.labels).then(|| (own.kind, own.name.clone()))
    })?;
    let pods = kept(&objects.pods, &namespace, sources, room, |own: &Pod| {
        selects(selector, own.labels()).then(|| ("Pod", own.name_any()))
    })?;
    let account = names::watch_service_account(backend);
    let accounts = kept(
        &objects.accounts,
        &namespace,
        sources,
        room,
        |own: &ServiceAccount| {
            (own.name_any() == account).then(|| ("ServiceAccount", account.clone()))
        },
    )?;
    for service in pair.into_iter().flatten() {
        let name = service.object.name_any();
        sources.push(("Service", None, name, service.source.clone()));
        room.take(service.source.node.weight).then_some(())?;
    }
    let watching = watching(objects, backend, sources, room)?;
    let cluster_dns = dns(objects, sources, room)?;
    let mut unselected = Vec::new();
    if workloads.is_empty() && pods.is_empty() && !skips_workloads(objects) {
        let all = objects.workloads.iter();
        for own in all.filter(|own| own.namespace == namespace) {
            room.take(LEAST).then_some(())?;
            unselected.push(own.object.clone());
        }
    }
    let [cluster_ip, headless] = pair.map(|service| service.map(|own| own.object.clone()));
    let written = main.node.get("metadata");
    Some(Observed {
        named_namespace: written
            .and_then(|own| own.get("namespace"))
            .map(|_| namespace.clone()),
        backend: backend.clone(),
        cluster_ip,
        headless,
        service_account: accounts.into_iter().next(),
        watching,
        unselected,
        namespace_metadata: metadata(objects, &namespace).into(),
        workloads,
        pods,
        autoscalers: objects
            .knows("HorizontalPodAutoscaler")
            .then_some(autoscalers)
            .into(),
        jobs,
        age_configs: configs.into_iter().map(|own| own.name).collect(),
        cluster_dns,
        observer: objects.observer,
        ..Observed::default()
    })
}

/// A backend and a workload with its labels that are taken for strangers only because one of them names no namespace, said in a sentence.
pub fn apart(objects: &Objects) -> Option<String> {
    let names_one = |source: &Source| {
        let metadata = source.node.get("metadata");
        metadata.and_then(|own| own.get("namespace")).is_some()
    };
    objects.backends.iter().find_map(|backend| {
        let selector = &backend.object.spec.selector;
        let (mut all, named) = (objects.workloads.iter(), names_one(&backend.source));
        let is_here = |own: &Placed<Arc<Workload>>| own.namespace == backend.namespace;
        let mut selected = all.clone().filter(|own| own.object.is_selected(selector));
        if selected.any(is_here) {
            return None;
        }
        let workload = all.find(|own| {
            named != names_one(&own.source) && own.object.is_selected(selector)
        })?;
        let (name, own, other) = (backend.object.name_any(), &backend.namespace, &workload.namespace);
        Some(format!(
            "GrpcBackend {name} is taken for one of namespace {own}, and {}, which has its labels, for one of {other}, since one of them names none: name it in both, or say by -n which is meant",
            workload.object
        ))
    })
}

/// Whether some of the objects that no rule looks at may have pods that serve.
fn skips_workloads(objects: &Objects) -> bool {
    const KINDS: [&str; 5] = [
        "Rollout",
        "CloneSet",
        "ReplicaSet",
        "DeploymentConfig",
        "incomplete object",
    ];
    let mut skipped = objects.skipped.keys().map(String::as_str);
    skipped.any(|kind| KINDS.contains(&kind) || kind.contains(" of "))
}

/// How the cluster's DNS servers are configured, if that is there.
fn dns(
    objects: &Objects,
    sources: &mut Vec<Standing>,
    room: &mut Room,
) -> Option<Optional<ClusterDns>> {
    let mut corefiles = Vec::new();
    for name in cluster_dns::CONFIG_MAPS {
        let is_it = |own: &&Placed<Config>| {
            own.namespace == cluster_dns::NAMESPACE && own.object.name == name
        };
        let Some(own) = objects.configs.iter().find(is_it) else {
            continue;
        };
        room.take(own.source.node.weight).then_some(())?;
        let namespace = Some(own.namespace.clone());
        sources.push(("ConfigMap", namespace, name.to_owned(), own.source.clone()));
        corefiles.extend(own.object.corefile.clone());
    }
    Some(cluster_dns::read(&corefiles).into())
}

/// Labels and annotations of a namespace, if it is there.
fn metadata(objects: &Objects, namespace: &str) -> Option<Arc<ObjectMeta>> {
    let mut all = objects.namespaces.iter();
    let own = all.find(|own| own.namespace == namespace)?;
    Some(own.object.clone())
}

/// Tells the backends of the workloads that are told to dial their headless Services. Each workload is read once: there may be
/// thousands, of backends too.
fn add_callers(objects: &Objects, backends: &mut [Backend], room: &mut Room) {
    let mut by_twin: HashMap<String, Vec<usize>> = HashMap::new();
    let known = backends.iter().enumerate();
    for (at, backend) in known.filter(|(_, backend)| !backend.is_left_out) {
        let twin = backend.observed.headless_name();
        by_twin.entry(twin).or_default().push(at);
    }
    for own in &objects.workloads {
        let told = own.object.hosts().filter_map(|host| by_twin.get(host));
        let told: BTreeSet<usize> = told.flatten().copied().collect();
        for at in told {
            add_caller(objects, &mut backends[at], own, room);
        }
    }
}

/// Unless it serves for the backend itself, or means a Service of that name elsewhere.
fn add_caller(
    objects: &Objects,
    backend: &mut Backend,
    own: &Placed<Arc<Workload>>,
    room: &mut Room,
) {
    let (observed, workload) = (&mut backend.observed, &own.object);
    let namespace = observed.namespace();
    let is_own = own.namespace == namespace;
    let serves = is_own && workload.is_selected(&observed.backend.spec.selector);
    if serves || !workload.dials(&observed.headless_name(), &namespace, is_own) {
        return;
    }
    if !room.take(LEAST) {
        backend.is_left_out = true;
        return;
    }
    backend.weight += LEAST;
    let elsewhere = (!is_own).then(|| own.namespace.clone());
    backend.sources.push((
        workload.kind.as_str(),
        elsewhere.clone(),
        workload.name().to_owned(),
        own.source.clone(),
    ));
    observed.callers.push(Caller {
        namespace: elsewhere,
        namespace_metadata: metadata(objects, &own.namespace),
        workload: workload.clone(),
    });
}

/// The clients that may watch, by the accounts that the resource names; none where there is no room for them.
fn watching(
    objects: &Objects,
    backend: &GrpcBackend,
    sources: &mut Vec<Standing>,
    room: &mut Room,
) -> Option<Vec<Watching>> {
    let own = backend.namespace().unwrap_or_default();
    let Some(watch) = &backend.spec.endpoint_watch else {
        return Some(Vec::new());
    };
    let clients = watch.clients.iter().take(CLIENTS);
    let mut named: BTreeSet<(&str, String)> = clients
        .map(|client| {
            (
                client.namespace.as_deref().unwrap_or(&own),
                client.service_account.clone(),
            )
        })
        .collect();
    if watch.service_account.is_some() {
        named.insert((&own, names::watch_service_account(backend)));
    }
    let clients = named.into_iter().map(|(namespace, name)| {
        let elsewhere = (namespace != own).then(|| namespace.to_owned());
        let mut seen = Watching {
            namespace: elsewhere.clone(),
            ..Watching::default()
        };
        let mut accounts = objects
            .accounts
            .iter()
            .filter(|own| own.namespace == namespace);
        if let Some(account) = accounts.find(|own| own.object.name_any() == name) {
            let source = account.source.clone();
            room.take(source.node.weight).then_some(())?;
            sources.push(("ServiceAccount", elsewhere.clone(), name.clone(), source));
            seen.account = Some(account.object.clone());
        }
        let runs = |own: &&Placed<Arc<Workload>>| {
            let pods = own.object.template.spec.as_ref();
            let account = pods.and_then(|pods| pods.service_account_name.as_deref());
            own.namespace == namespace && account == Some(name.as_str())
        };
        for workload in objects.workloads.iter().filter(runs) {
            room.take(LEAST).then_some(())?;
            let (kind, called) = (workload.object.kind.as_str(), workload.object.name());
            sources.push((
                kind,
                elsewhere.clone(),
                called.to_owned(),
                workload.source.clone(),
            ));
            seen.workloads.push(workload.object.clone());
        }
        seen.name = name;
        Some(seen)
    });
    clients.collect()
}

/// The objects of a namespace that `name` gives a kind and a name, and where they stand; none where there is no room for them.
fn kept<T: Clone>(
    all: &[Placed<T>],
    namespace: &str,
    sources: &mut Vec<Standing>,
    room: &mut Room,
    name: impl Fn(&T) -> Option<(&'static str, String)>,
) -> Option<Vec<T>> {
    let mut kept = Vec::new();
    for own in all.iter().filter(|own| own.namespace == namespace) {
        if let Some((kind, name)) = name(&own.object) {
            room.take(own.source.node.weight).then_some(())?;
            sources.push((kind, None, name, own.source.clone()));
            kept.push(own.object.clone());
        }
    }
    Some(kept)
}
