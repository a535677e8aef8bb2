//! Envoy and nginx between clients and a headless Service: as users copy them from `examples/proxies`, and as one finds them.

use anyhow::{Context as _, Result};
use evenkeel_cluster::proxies::{ENVOY, NGINX, NGINX_OLD, Proxy};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::manifests::{self, PORT, container};
use crate::world::root;

mod figures;
pub mod hop;
pub mod rollouts;

/// A proxy with its configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Nothing set but what a call needs to arrive.
    EnvoyNaive,
    /// The example's.
    Envoy,
    /// Before 1.27.3: looks the name up once.
    NginxNaive,
    /// Before 1.27.3: looks the name up again, and has a connection for each call.
    NginxVariable,
    /// The example's: looks the name up again, and keeps connections.
    Nginx,
}

/// All of them.
pub const ALL: [Kind; 5] = [
    Kind::EnvoyNaive,
    Kind::Envoy,
    Kind::NginxNaive,
    Kind::NginxVariable,
    Kind::Nginx,
];
/// The Service that proxies look up.
pub const HEADLESS: &str = "echo-headless";
/// The name that the files have.
const EXAMPLE: &str = "echo-headless.default.svc.cluster.local";

impl Kind {
    /// That of its Deployment and its Service.
    pub fn name(self) -> &'static str {
        match self {
            Self::EnvoyNaive => "envoy-naive",
            Self::Envoy => "envoy",
            Self::NginxNaive => "nginx-naive",
            Self::NginxVariable => "nginx-variable",
            Self::Nginx => "nginx",
        }
    }

    /// What runs.
    pub fn proxy(self) -> Proxy {
        match self {
            Self::EnvoyNaive | Self::Envoy => ENVOY,
            Self::NginxNaive | Self::NginxVariable => NGINX_OLD,
            Self::Nginx => NGINX,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::EnvoyNaive => "tests/e2e/proxies/envoy-naive.yaml",
            Self::Envoy => "examples/proxies/envoy/envoy.yaml",
            Self::NginxNaive => "tests/e2e/proxies/nginx-naive.conf",
            Self::NginxVariable => "examples/proxies/nginx/nginx-before-1.27.3.conf",
            Self::Nginx => "examples/proxies/nginx/nginx.conf",
        }
    }

    fn is_naive(self) -> bool {
        matches!(self, Self::EnvoyNaive | Self::NginxNaive)
    }
}

/// Builds the images before the clock of a test starts.
pub fn build_for(tests: &[&str]) -> Result<()> {
    if tests.iter().any(|test| test.starts_with("proxies::")) {
        for proxy in [ENVOY, NGINX, NGINX_OLD] {
            proxy.build()?;
        }
    }
    Ok(())
}

/// The Service [`HEADLESS`] of pods with the label `app: NAME`.
pub fn headless(name: &str) -> Value {
    let mut service = manifests::service(HEADLESS);
    service["spec"]["clusterIP"] = "None".into();
    service["spec"]["selector"] = json!({"app": name});
    service
}

/// Runs a proxy before the headless Service of this name, and returns what a client dials to go through it.
pub async fn apply(bed: &Bed, kind: Kind, headless: &str, replicas: u32) -> Result<String> {
    let proxy = kind.proxy();
    let archive = tokio::task::spawn_blocking(move || proxy.build()).await??;
    bed.world.cluster.import_image(&archive).await?;
    place(bed, kind, headless, replicas).await
}

/// The same where the cluster has its image.
pub async fn place(bed: &Bed, kind: Kind, headless: &str, replicas: u32) -> Result<String> {
    for object in objects(kind, bed.name(), headless, replicas)? {
        bed.apply(&object).await?;
    }
    let name = kind.name();
    bed.rolled_out(name).await?;
    Ok(format!(
        "passthrough:///{name}.{}.svc.cluster.local:{PORT}",
        bed.name()
    ))
}

/// The example's objects, with these names.
fn objects(kind: Kind, namespace: &str, headless: &str, replicas: u32) -> Result<Vec<Value>> {
    let name = kind.name();
    let read = |path: &str| {
        std::fs::read_to_string(root().join(path)).with_context(|| format!("read {path}"))
    };
    let example = kind.proxy().name;
    let config = read(kind.config())?.replace(
        EXAMPLE,
        &format!("{headless}.{namespace}.svc.cluster.local"),
    );
    let file = if example == "envoy" {
        "envoy.yaml"
    } else {
        "nginx.conf"
    };
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {file: config},
    })];
    let manifests = read(&format!("examples/proxies/{example}/proxy.yaml"))?;
    for document in serde_yaml_ng::Deserializer::from_str(&manifests) {
        let mut object = Value::deserialize(document)?;
        object["metadata"]["name"] = name.into();
        if object["kind"] == "Service" {
            object["spec"]["selector"] = json!({"app": name});
        } else {
            adapt(&mut object, kind, replicas);
        }
        objects.push(object);
    }
    Ok(objects)
}

/// Our image under other names; nothing else differs from the example, unless one has not read it.
fn adapt(deployment: &mut Value, kind: Kind, replicas: u32) {
    let name = kind.name();
    deployment["spec"]["replicas"] = replicas.into();
    deployment["spec"]["selector"]["matchLabels"] = json!({"app": name});
    let template = &mut deployment["spec"]["template"];
    template["metadata"]["labels"] = json!({"app": name});
    template["spec"]["volumes"][0]["configMap"]["name"] = name.into();
    let container = container(deployment);
    container["image"] = kind.proxy().image().into();
    container["imagePullPolicy"] = "Never".into();
    // The same share as servers and clients of tests: some of these tests beside each other have to fit on two cores.
    container["resources"]["requests"]["cpu"] = "20m".into();
    if kind.is_naive()
        && let Some(container) = container.as_object_mut()
    {
        container.remove("lifecycle");
    }
}
