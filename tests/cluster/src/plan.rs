//! What a cluster consists of: the configuration files and command lines of its
//! components, as plain values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::components::Components;
use crate::control::ProcessSpec;
use crate::images::PAUSE_IMAGE;
use crate::options::Options;
use crate::setup::NODE_IP;

const SERVICES: &str = "10.96.0.0/16";
const PODS: &str = "10.244.0.0/16";

/// A process of the cluster itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// The store behind the API server.
    Etcd,
    /// The container runtime. Its death takes no container with it.
    Containerd,
    /// The API server.
    ApiServer,
    /// The controllers for Deployments, EndpointSlices, namespaces, …
    ControllerManager,
    /// What places pods on the node.
    Scheduler,
    /// What runs the node's pods.
    Kubelet,
    /// What makes Service addresses work.
    KubeProxy,
    /// The cluster's DNS server.
    CoreDns,
}

impl Component {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 8] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::CoreDns,
    ];

    /// The name of its process and of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::CoreDns => "coredns",
        }
    }
}

/// Everything that the plan of one cluster is made from.
pub(crate) struct Plan<'a> {
    pub state: &'a Path,
    pub logs: &'a Path,
    pub cgroup: &'a str,
    pub components: &'a Components,
    pub options: &'a Options,
}

impl Plan<'_> {
    fn config(&self, file: &str) -> String {
        self.state.join("config").join(file).display().to_string()
    }

    fn pki(&self, file: &str) -> String {
        self.state.join("pki").join(file).display().to_string()
    }

    pub fn containerd_socket(state: &Path) -> PathBuf {
        state.join("containerd.sock")
    }

    /// The files of the `config` directory, but for kubeconfigs.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        vec![
            ("audit.yaml", AUDIT_POLICY.to_owned()),
            ("containerd.toml", self.containerd_toml()),
            ("cni/10-evenkeel.conflist", CNI.to_owned()),
            ("resolv.conf", String::new()),
            ("kubelet.yaml", self.kubelet_yaml()),
            ("kube-proxy.yaml", self.proxy_yaml()),
            ("Corefile", self.corefile()),
        ]
    }

    /// How to start a component.
    pub fn process(&self, component: Component) -> ProcessSpec {
        let mut argv = match component {
            Component::Etcd => Self::etcd(),
            Component::Containerd => vec![format!("--config={}", self.config("containerd.toml"))],
            Component::ApiServer => self.api_server(),
            Component::ControllerManager => self.controller_manager(),
            Component::Scheduler => self.scheduler(),
            Component::Kubelet => self.kubelet(),
            Component::KubeProxy => vec![format!("--config={}", self.config("kube-proxy.yaml"))],
            Component::CoreDns => vec!["-conf".to_owned(), self.config("Corefile")],
        };
        let program = match component {
            Component::Containerd => PathBuf::from("/usr/bin/containerd"),
            Component::CoreDns => self.components.coredns(),
            other => self.components.kubernetes(other.name()),
        };
        argv.insert(0, program.display().to_string());
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        ProcessSpec {
            name: component.name().to_owned(),
            argv,
            env: BTreeMap::from([
                ("PATH".to_owned(), path.to_owned()),
                ("HOME".to_owned(), "/run".to_owned()),
            ]),
            directory: Some("/".into()),
            log: self.logs.join(format!("{}.log", component.name())),
            restart: true,
        }
    }

    fn etcd() -> Vec<String> {
        [
            "--name=evenkeel",
            "--data-dir=/run/etcd",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=evenkeel=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=error",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn api_server(&self) -> Vec<String> {
        let mut flags = vec![
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            "--bind-address=0.0.0.0".to_owned(),
            "--secure-port=6443".to_owned(),
            format!("--advertise-address={NODE_IP}"),
            "--allow-privileged=true".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--client-ca-file={}", self.pki("ca.crt")),
            format!("--tls-cert-file={}", self.pki("apiserver.crt")),
            format!("--tls-private-key-file={}", self.pki("apiserver.key")),
            format!(
                "--kubelet-client-certificate={}",
                self.pki("apiserver-kubelet.crt")
            ),
            format!("--kubelet-client-key={}", self.pki("apiserver-kubelet.key")),
            "--kubelet-preferred-address-types=InternalIP,Hostname".to_owned(),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-key-file={}",
                self.pki("service-account.pub")
            ),
            format!(
                "--service-account-signing-key-file={}",
                self.pki("service-account.key")
            ),
            "--profiling=false".to_owned(),
            format!("--audit-policy-file={}", self.config("audit.yaml")),
            format!("--audit-log-path={}", self.logs.join("audit.log").display()),
            // Larger than any test makes it: a rotated log would lose events.
            "--audit-log-maxsize=4096".to_owned(),
        ];
        flags.extend(self.options.api_server_flags.iter().cloned());
        flags
    }

    fn client_flags(&self, name: &str) -> Vec<String> {
        let file = self.config(&format!("{name}.kubeconfig"));
        [
            "--kubeconfig",
            "--authentication-kubeconfig",
            "--authorization-kubeconfig",
        ]
        .map(|flag| format!("{flag}={file}"))
        .into_iter()
        .chain([
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ])
        .collect()
    }

    fn controller_manager(&self) -> Vec<String> {
        let mut flags = self.client_flags("kube-controller-manager");
        flags.extend([
            format!(
                "--service-account-private-key-file={}",
                self.pki("service-account.key")
            ),
            format!("--root-ca-file={}", self.pki("ca.crt")),
            format!("--cluster-signing-cert-file={}", self.pki("ca.crt")),
            format!("--cluster-signing-key-file={}", self.pki("ca.key")),
            "--use-service-account-credentials".to_owned(),
            // At its default of 20 requests a second the first default
            // ServiceAccount comes five seconds after everything else.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            "--allocate-node-cidrs=true".to_owned(),
            format!("--cluster-cidr={PODS}"),
            format!("--service-cluster-ip-range={SERVICES}"),
        ]);
        if let Some(endpoints) = self.options.max_endpoints_per_slice {
            flags.push(format!("--max-endpoints-per-slice={endpoints}"));
        }
        flags.extend(self.options.controller_manager_flags.iter().cloned());
        flags
    }

    fn scheduler(&self) -> Vec<String> {
        self.client_flags("kube-scheduler")
    }

    fn kubelet(&self) -> Vec<String> {
        vec![
            format!("--config={}", self.config("kubelet.yaml")),
            format!("--kubeconfig={}", self.config("kubelet.kubeconfig")),
            "--hostname-override=node1".to_owned(),
            format!("--node-ip={NODE_IP}"),
            "--root-dir=/var/lib/kubelet".to_owned(),
            "--cert-dir=/run/kubelet-pki".to_owned(),
        ]
    }

    fn containerd_toml(&self) -> String {
        let socket = Self::containerd_socket(self.state);
        let cni = self.config("cni");
        format!(
            r#"version = 2
root = "/run/containerd-root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
            socket = socket.display()
        )
    }

    fn kubelet_yaml(&self) -> String {
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
maxPods: {pods}
containerRuntimeEndpoint: unix://{socket}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {ca}}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {crt}
tlsPrivateKeyFile: {key}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: {resolv}
imageGCHighThresholdPercent: 100
evictionHard: {{nodefs.available: \"0%\", nodefs.inodesFree: \"0%\", imagefs.available: \"0%\"}}
podLogsDir: {logs}
",
            cgroup = self.cgroup,
            pods = self.options.max_pods,
            socket = Self::containerd_socket(self.state).display(),
            ca = self.pki("ca.crt"),
            crt = self.pki("kubelet.crt"),
            key = self.pki("kubelet.key"),
            resolv = self.config("resolv.conf"),
            logs = self.logs.join("pods").display(),
        )
    }

    fn proxy_yaml(&self) -> String {
        format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {{kubeconfig: {}}}
hostnameOverride: node1
clusterCIDR: {PODS}
conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
oomScoreAdj: 0
",
            self.config("kube-proxy.kubeconfig")
        )
    }

    fn corefile(&self) -> String {
        format!(
            ".:53 {{
    bind {NODE_IP}
    ready 127.0.0.1:8181
    errors
    prometheus 127.0.0.1:9153
    loadbalance
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {}
        pods insecure
        ttl 5
    }}
}}
",
            self.config("coredns.kubeconfig")
        )
    }
}

const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

const CNI: &str = r#"{"cniVersion": "1.0.0", "name": "evenkeel", "plugins": [{
  "type": "ptp", "ipMasq": false,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
}]}
"#;
