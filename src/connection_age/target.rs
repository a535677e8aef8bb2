//! Which container of a workload gets the age.

use k8s_openapi::api::core::v1::Container;

use crate::api::conditions::Statement;
use crate::api::{ConnectionAge, GrpcBackendSpec, Reason};
use crate::observed::{Update, Workload};

/// What a workload is to a backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Its server runs in this container.
    Container(usize),
    /// Not one of its workloads: the labels do not match, or `workloads` names others.
    Foreign,
    /// It has the labels, but is no server: reported, never patched.
    NoServer(Statement),
    /// It is a server that cannot be patched as it is. What was written there before stays until somebody decides.
    Unfit(Statement),
}

/// The container of `workload` that `spec` means.
pub fn find(spec: &GrpcBackendSpec, age: &ConnectionAge, workload: &Workload) -> Target {
    let asked_by_name = age.workloads.iter().any(|name| name == workload.name());
    if !workload.is_selected(&spec.selector) || !age.workloads.is_empty() && !asked_by_name {
        return Target::Foreign;
    }
    let index = match container(spec, age, workload) {
        Ok(index) => index,
        Err(target) => return target,
    };
    if workload.update == Update::Recreate && !asked_by_name {
        return Target::Unfit(Statement::no(
            Reason::UnsupportedWorkload,
            format!(
                "{workload} has strategy.type Recreate: setting the age would stop all its pods at once; name it in spec.connectionAge.workloads if that is acceptable"
            ),
        ));
    }
    Target::Container(index)
}

fn container(
    spec: &GrpcBackendSpec,
    age: &ConnectionAge,
    workload: &Workload,
) -> Result<usize, Target> {
    let all = workload.containers();
    if let Some(wanted) = &age.container {
        return all
            .iter()
            .position(|container| &container.name == wanted)
            .ok_or_else(|| {
                Target::NoServer(Statement::no(
                    Reason::NoServer,
                    format!(
                        "{workload} has no container {wanted}: it has {}; correct spec.connectionAge.container",
                        listed(all.iter().map(|container| container.name.as_str()))
                    ),
                ))
            });
    }
    let declaring: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, container)| declares(spec, container))
        .map(|(index, _)| index)
        .collect();
    match declaring.as_slice() {
        [index] => Ok(*index),
        [] => Err(Target::NoServer(Statement::no(
            Reason::NoServer,
            nobody(spec, workload),
        ))),
        several => Err(Target::Unfit(Statement::no(
            Reason::AmbiguousContainer,
            format!(
                "the containers {} of {workload} all declare the port {}: name the server's in spec.connectionAge.container",
                listed(several.iter().map(|index| all[*index].name.as_str())),
                ports(spec)
            ),
        ))),
    }
}

fn nobody(spec: &GrpcBackendSpec, workload: &Workload) -> String {
    let pod = workload.template.spec.iter();
    let mut init = pod.flat_map(|pod| pod.init_containers.iter().flatten());
    if let Some(own) = init.find(|own| declares(spec, own)) {
        return format!(
            "the port {} of {workload} is that of {} among its initContainers, where Evenkeel writes nothing: set the age in its own manifest, and remove spec.connectionAge",
            ports(spec),
            own.name
        );
    }
    format!(
        "no container of {workload} declares the port {} in its ports: add it there, correct spec.ports[].targetPort, or name the server's container in spec.connectionAge.container",
        ports(spec)
    )
}

fn declares(spec: &GrpcBackendSpec, container: &Container) -> bool {
    container.ports.iter().flatten().any(|declared| {
        spec.ports
            .iter()
            .any(|port| port.target() == declared.container_port)
    })
}

/// The ports that are looked for, as a person would say them.
pub fn ports(spec: &GrpcBackendSpec) -> String {
    let ports: Vec<String> = spec.ports.iter().map(|p| p.target().to_string()).collect();
    ports.join(" or ")
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
