//! Pipelines that apply what is in Git again and again.

use k8s_openapi::api::core::v1::Container;

use crate::api::{AgeMode, Knob};
use crate::connection_age;
use crate::observed::{Observed, Observer, Workload};
use crate::presets;

use super::{Seen, mended, snippet};

/// What Argo CD and Flux mark what they apply with.
const MARKS: [&str; 4] = [
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
];

/// GB090: `args` is one value, and whoever applies it takes ours out.
pub(super) fn args_are_applied(observed: &Observed) -> Vec<Seen> {
    let age = observed.backend.spec.connection_age.as_ref();
    let Some(age) = age.filter(|own| own.mode != Some(AgeMode::Advise)) else {
        return Vec::new();
    };
    let Some(flag) = flag(&age.knob) else {
        return Vec::new();
    };
    // As other findings would have it in the same breath.
    let words = connection_age::arguments(&mended(age));
    observed
        .serving_workloads()
        .filter(|workload| observed.observer == Observer::Manifests || is_marked(workload))
        .filter_map(|workload| {
            let server = observed.server(workload)?;
            lacks(server, flag).then(|| missing(workload, server, flag, &words))
        })
        .collect()
}

fn missing(workload: &Workload, container: &Container, flag: &str, words: &[String]) -> Seen {
    let name = &container.name;
    let message = format!(
        "spec.connectionAge sets {flag} in the args of container {name} of {workload}, which are in what you apply: each apply takes the flag out, which replaces the pods, and after three times in six hours the operator stops. Write {flag} into the args yourself, or set mode: Advise"
    );
    let (field, written) = match (&container.args, &container.command) {
        (None, Some(command)) => ("command", command.as_slice()),
        (args, _) => ("args", args.as_deref().unwrap_or_default()),
    };
    let all = snippet::list(&[written, words].concat());
    let fields = snippet::container(name, &format!("{field}: {all}"));
    Seen::in_container(workload, name, field, message).instead(&snippet::pods(&fields))
}

/// The flag that a knob sets.
fn flag(knob: &Knob) -> Option<&str> {
    let knob = match &knob.preset {
        Some(preset) => presets::find(preset.as_str())?.knob.as_ref()?,
        None => knob,
    };
    let flags = knob.flags.as_ref().map(|own| own.max_age.as_str());
    let list = knob.list_flag.as_ref().map(|own| own.flag.as_str());
    let switch = knob.switch.as_ref().map(|own| own.flag.as_str());
    flags.or(list).or(switch)
}

fn is_marked(workload: &Workload) -> bool {
    let metadata = &workload.metadata;
    let maps = [&metadata.annotations, &metadata.labels];
    let has = |mark: &&str| {
        maps.iter()
            .copied()
            .flatten()
            .any(|map| map.contains_key(*mark))
    };
    MARKS.iter().any(has)
}

/// Whether args are written, and none is the flag, with one dash or two.
fn lacks(container: &Container, flag: &str) -> bool {
    let bare = flag.trim_start_matches('-');
    let is_it = |word: &String| {
        let word = word.trim_start_matches('-');
        word.split('=').next() == Some(bare)
    };
    let written = container.args.as_ref().or(container.command.as_ref());
    written.is_some_and(|words| !words.iter().any(is_it))
}
