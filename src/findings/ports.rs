//! The backend's ports, against those on which its servers say that they listen.

use k8s_openapi::api::core::v1::{Container, Probe};

use crate::api::Port;
use crate::observed::{Observed, Workload};

use super::{Seen, says_grpc, snippet};

/// GB009: nobody listens where the pair leads.
pub(super) fn miss_the_servers(observed: &Observed) -> Vec<Seen> {
    if observed.guessed {
        return Vec::new();
    }
    let all = missed(observed);
    all.filter_map(|(workload, index)| missing(observed, workload, index))
        .collect()
}

/// Leads ports to where somebody listens, as far as that is told, and says whereto they led.
pub(super) fn mend(world: &mut Observed) -> Vec<i32> {
    let mut changed = Vec::new();
    if world.guessed {
        return changed;
    }
    for _ in 0..world.backend.spec.ports.len() {
        let mended = missed(world)
            .find_map(|(workload, index)| Some((index, better(world, workload, index)?)));
        let Some((index, number)) = mended else { break };
        let port = &mut world.backend.spec.ports[index];
        changed.push(port.target());
        port.target_port = (number != port.port).then_some(number);
    }
    changed
}

/// The ports of a workload's that lead to nobody, by their places.
fn missed(observed: &Observed) -> impl Iterator<Item = (&Workload, usize)> {
    observed.serving_workloads().flat_map(|workload| {
        let targets = || observed.backend.spec.ports.iter().map(Port::target);
        let none_serves = !targets().any(|target| may_serve(workload, target));
        // Where another leads to a server, a port that nobody declares may be one of those that need not be: only where all
        // containers declare some, it would be among them.
        let mut containers = workload.containers().iter();
        let declare = containers.all(|own| own.ports.as_ref().is_some_and(|own| !own.is_empty()));
        let missed = targets()
            .enumerate()
            .filter(move |(_, target)| !may_serve(workload, *target) && (none_serves || declare));
        // Once the first leads to a server, the others are told of.
        let most = if none_serves { 1 } else { usize::MAX };
        let missed = missed.take(most);
        missed.map(move |(index, _)| (workload, index))
    })
}

/// Where a port is to lead instead: to where every workload may serve, and away from where none does. With several containers that declare
/// ports it is not known whose the clients' server is: the others may be a collector's or a proxy's.
fn better(observed: &Observed, workload: &Workload, index: usize) -> Option<i32> {
    let ports = &observed.backend.spec.ports;
    let asked = ports.get(index)?.target();
    let (_, number, _) = free(ports, workload)?;
    let mut all = observed.serving_workloads();
    let fits = all.all(|own| !may_serve(own, asked) && may_serve(own, number));
    let declares = |own: &&Container| own.ports.as_ref().is_some_and(|own| !own.is_empty());
    let is_alone = workload.containers().iter().filter(declares).count() < 2;
    (fits && is_alone).then_some(number)
}

/// Where a workload listens for gRPC and no port leads yet.
fn free<'a>(ports: &[Port], workload: &'a Workload) -> Option<(&'a Container, i32, String)> {
    let is_led_to = |number: i32| ports.iter().any(|port| port.target() == number);
    listens(workload).find(|(_, number, _)| !is_led_to(*number))
}

fn missing(observed: &Observed, workload: &Workload, index: usize) -> Option<Seen> {
    let ports = &observed.backend.spec.ports;
    let asked = ports.get(index)?.target();
    let (container, _, how) = listens(workload).next()?;
    let free = free(ports, workload);
    let (container, how) = free
        .as_ref()
        .map_or((container, &how), |(container, _, how)| (container, how));
    let number = better(observed, workload, index);
    let mut others = observed.serving_workloads();
    let others_listen = others.any(|own| may_serve(own, asked));
    let to_do = match number {
        Some(number) => format!("Set targetPort: {number}"),
        None if others_listen => format!(
            "Others listen there: have {workload} do so too, or give its pods other labels and a GrpcBackend of their own"
        ),
        None => {
            format!("Remove that port, or set its targetPort to one on which {workload} listens")
        }
    };
    let path = format!("spec.ports[{index}]");
    let seen = Seen::in_backend(
        observed,
        &path,
        format!(
            "{path} leads to port {asked} of the pods, and container {} of {workload} {how}: nobody listens where clients connect. \
         {to_do}; if the server does listen on {asked}, declare that among the container's ports",
            container.name
        ),
    );
    let mended = ports.iter().enumerate().filter_map(|(at, port)| {
        let mut port = port.clone();
        if at == index {
            port.target_port = Some(number?);
        }
        Some(snippet::port(&port))
    });
    let mended: Vec<String> = mended.collect();
    // What leads to nobody can go where all that listens has a port already.
    Some(
        if number.is_some() || free.is_none() && !others_listen && !mended.is_empty() {
            seen.instead(&snippet::spec(&format!("ports: [{}]", mended.join(", "))))
        } else {
            let name = snippet::word(&observed.name());
            seen.write(&format!("# in GrpcBackend {name}, {path}: a targetPort on which the server of {workload} listens"))
        },
    )
}

/// The ports on which containers say that they listen for gRPC, and how.
fn listens(workload: &Workload) -> impl Iterator<Item = (&Container, i32, String)> {
    workload.containers().iter().flat_map(listens_in)
}

fn listens_in(container: &Container) -> impl Iterator<Item = (&Container, i32, String)> {
    let named = container.ports.iter().flatten().filter_map(move |port| {
        let name = port.name.as_deref().filter(|name| says_grpc(Some(name)))?;
        let number = port.container_port;
        Some((container, number, format!("names port {number} {name}")))
    });
    let asked = asks_by_grpc(container).into_iter().map(move |number| {
        let how = format!("is probed by gRPC on port {number}");
        (container, number, how)
    });
    named.chain(asked)
}

/// Whether clients of a port may find a server there, as far as the manifests tell.
fn may_serve(workload: &Workload, target: i32) -> bool {
    let containers = workload.containers();
    // A name such as http speaks for another port only where the same container has one for gRPC: Connect and h2c go by it too.
    let is_of_server = |own: &Container| {
        let mut ports = own.ports.iter().flatten();
        let is_other = |name: &str| says_other(name) && listens_in(own).next().is_some();
        ports.any(|port| {
            port.container_port == target && !port.name.as_deref().is_some_and(is_other)
        })
    };
    // Ports need not be declared: one container that says nothing of any may listen anywhere.
    let silent = |own: &Container| {
        own.ports.as_ref().is_none_or(Vec::is_empty) && asks_by_grpc(own).is_empty()
    };
    listens(workload).any(|(_, number, _)| number == target)
        || containers.iter().any(is_of_server)
        || containers.len() > 1 && containers.iter().any(silent)
}

/// Whether a port's name says that it is for something else than gRPC.
fn says_other(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "http",
        "https",
        "web",
        "rest",
        "metrics",
        "prometheus",
        "health",
        "debug",
        "pprof",
    ];
    let mut words = name.split('-');
    words.any(|word| OTHERS.contains(&word.to_ascii_lowercase().as_str()))
}

/// The ports that a container's probes ask by gRPC, be it by the program that did so before Kubernetes could.
pub fn asks_by_grpc(container: &Container) -> Vec<i32> {
    let probes = [
        &container.readiness_probe,
        &container.liveness_probe,
        &container.startup_probe,
    ];
    let port = |probe: &Probe| match (&probe.grpc, &probe.exec) {
        (Some(grpc), _) => Some(grpc.port),
        (None, Some(exec)) => asked_by_program(exec.command.as_deref().unwrap_or_default()),
        (None, None) => None,
    };
    probes.into_iter().flatten().filter_map(port).collect()
}

/// `grpc_health_probe -addr=:8080`, in whatever spelling, also within a shell's line.
fn asked_by_program(command: &[String]) -> Option<i32> {
    let mut words = command.iter().flat_map(|word| word.split_whitespace());
    words.find(|word| {
        let program = word.rsplit('/').next().unwrap_or_default();
        program.replace('-', "_") == "grpc_health_probe"
    })?;
    let is_flag = |word: &str| word.trim_start_matches('-').split('=').next() == Some("addr");
    let flag = words.find(|word| is_flag(word))?;
    let address = flag.split_once('=').map(|(_, value)| value);
    let address = address.or_else(|| words.next())?;
    address.rsplit(':').next()?.parse().ok()
}
