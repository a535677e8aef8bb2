//! Every promise on a real Kubernetes, with real gRPC servers and clients.
//!
//! A program of its own rather than libtest's: it shows progress, runs most tests four at a time on one cluster and
//! those that disturb others on clusters of their own, repeats one (`--filter NAME[,NAME] --repeat N`), and takes its clusters down whatever
//! happens. `runner` runs, `bed` is what a test works in; the other files are the tests, by topic.

mod bed;
mod client;
mod coexist;
mod conformance;
mod dials;
mod kubectl;
mod lasting;
mod manifests;
mod objects;
mod pods;
mod proof;
mod proxies;
mod repetitions;
mod rights;
mod runner;
mod versions;
mod workloads;
mod world;

mod access;
mod age;
mod alerts;
mod attack;
mod balance;
mod clients;
mod crash;
mod cycling;
mod deletion;
mod discovery;
mod existing;
mod findings;
mod ha;
mod harms;
mod helm;
mod https;
mod kinds;
mod observed;
mod owner;
mod pages;
mod pair;
mod presets;
mod prometheus;
mod rbac;
mod removal;
mod restarts;
mod samples;
mod servers;
mod snippets;
mod steady;
mod top;
mod traces;
mod upgrade;
mod watch;

fn main() -> std::process::ExitCode {
    evenkeel_cluster::maybe_supervise();
    if conformance::asked() {
        return conformance::main();
    }
    if let Some(code) = traces::maybe_collect() {
        return code;
    }
    let tests = [
        access::TESTS,
        age::TESTS,
        alerts::TESTS,
        attack::TESTS,
        balance::TESTS,
        clients::TESTS,
        coexist::apply::TESTS,
        coexist::backends::TESTS,
        coexist::before::TESTS,
        coexist::helm::TESTS,
        coexist::hpa::TESTS,
        coexist::kinds::TESTS,
        coexist::loops::TESTS,
        coexist::rollout::TESTS,
        coexist::undo::TESTS,
        crash::TESTS,
        cycling::TESTS,
        deletion::TESTS,
        discovery::TESTS,
        existing::TESTS,
        findings::TESTS,
        ha::TESTS,
        harms::TESTS,
        helm::TESTS,
        https::TESTS,
        kinds::TESTS,
        observed::TESTS,
        owner::TESTS,
        pages::TESTS,
        pair::TESTS,
        presets::TESTS,
        prometheus::TESTS,
        proxies::hop::TESTS,
        proxies::rollouts::TESTS,
        rbac::TESTS,
        removal::TESTS,
        restarts::TESTS,
        samples::TESTS,
        servers::TESTS,
        snippets::TESTS,
        steady::TESTS,
        top::TESTS,
        traces::TESTS,
        upgrade::TESTS,
        watch::TESTS,
    ]
    .concat();
    runner::main(&tests)
}
