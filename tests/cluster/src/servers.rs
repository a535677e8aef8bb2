//! gRPC servers of other people, built from their Go modules, as images that tests run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::components::{Components, build_component};
use crate::images;
use crate::paths::source_dir;

/// A server that somebody else wrote.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its name, that of its program and of its component.
    pub name: &'static str,
    component: &'static str,
    module: &'static str,
    /// Below the module; none where the cluster runs the program itself.
    package: Option<&'static str>,
}

/// Takes the age by a flag, has a default of an hour. Minutes to build.
pub const THANOS: Server = Server {
    name: "thanos",
    component: "thanos",
    module: "github.com/thanos-io/thanos",
    package: Some("cmd/thanos"),
};
/// Envoy's rate limit service: takes the age by a variable, has a default of a day. A minute to build.
pub const RATELIMIT: Server = Server {
    name: "ratelimit",
    component: "ratelimit",
    module: "github.com/envoyproxy/ratelimit",
    package: Some("src/service_cmd"),
};
/// The collector of Jaeger 1: takes the age by a flag or by a variable. Minutes to build.
pub const JAEGER: Server = Server {
    name: "jaeger-collector",
    component: "jaeger",
    module: "github.com/jaegertracing/jaeger",
    package: Some("cmd/collector"),
};
/// All of Jaeger 1 in one program, which takes traces and answers questions about them, from its memory. Minutes to build.
pub const JAEGER_ALL_IN_ONE: Server = Server {
    name: "jaeger-all-in-one",
    component: "jaeger",
    module: "github.com/jaegertracing/jaeger",
    package: Some("cmd/all-in-one"),
};
/// Has no knob for the age. Part of the cluster's own program.
pub const ETCD: Server = Server {
    name: "etcd",
    component: "kubernetes",
    module: "go.etcd.io/etcd/server/v3",
    package: None,
};

impl Server {
    /// The name of its image.
    pub fn image(&self) -> String {
        format!("docker.io/evenkeel-test/{}:1", self.name)
    }

    /// Its version: the one that the component's go.mod asks for.
    pub fn version(&self) -> Result<String> {
        let file = source_dir()
            .join("components")
            .join(self.component)
            .join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        version_in(&text, self.module)
            .with_context(|| format!("{} does not ask for {}", file.display(), self.module))
    }

    /// Builds what is missing, and returns the image's archive.
    pub fn build(&self) -> Result<PathBuf> {
        let program = match self.package {
            Some(package) => {
                let package = format!("{}/{package}", self.module);
                build_component(self.component, self.name, &package)?.join(self.name)
            }
            // A link to the cluster's program, which goes by the name it is started under.
            None => Components::build()?.kubernetes(self.name).canonicalize()?,
        };
        let entrypoint = format!("/{}", self.name);
        images::scratch(&self.image(), &[(&program, self.name)], &[&entrypoint])
    }
}

/// The version of a module in a go.mod, whether it stands in a list or alone.
fn version_in(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let line = line.trim();
        let mut words = line.strip_prefix("require ").unwrap_or(line).split(' ');
        (words.next() == Some(module)).then(|| words.next().map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_module_file() {
        let text = "module x\n\nrequire a/b v1.2.3\n\nrequire (\n\ta/b/c v2.0.0 // indirect\n)\n";
        assert_eq!(version_in(text, "a/b").as_deref(), Some("v1.2.3"));
        assert_eq!(version_in(text, "a/b/c").as_deref(), Some("v2.0.0"));
        assert_eq!(version_in(text, "a"), None);
    }

    #[test]
    fn every_server_has_a_version() {
        for server in [THANOS, RATELIMIT, JAEGER, JAEGER_ALL_IN_ONE, ETCD] {
            let version = server.version().unwrap();
            assert!(version.starts_with('v'), "{}: {version}", server.name);
        }
    }
}
