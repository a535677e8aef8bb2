//! How old the answers of a cluster's DNS servers may be, as the configuration of CoreDNS says.
//!
//! CoreDNS answers from a watch: what makes an answer old is who keeps it. Each keeps it for its TTL at most (the plugin `kubernetes`
//! sets it), however many keep it one after the other, since each passes on what is left. Two settings of the plugin `cache` lengthen
//! that: the least time for which a success is kept, and `serve_stale`, which answers at once with what has expired.
//! Sources: <https://coredns.io/plugins/kubernetes/>, <https://coredns.io/plugins/cache/>.

use std::time::Duration;

use crate::api::GoDuration;

/// Where clusters configure their DNS servers.
pub const NAMESPACE: &str = "kube-system";
/// The ConfigMaps there: of the cluster's servers, and of the caches on its nodes, if there are any.
pub const CONFIG_MAPS: [&str; 2] = ["coredns", "node-local-dns"];
/// The entry that CoreDNS reads.
pub const KEY: &str = "Corefile";

/// Without `ttl`.
const TTL: u64 = 5;
/// Without a third number after `success`.
const LEAST: u64 = 5;
/// Without a time after `serve_stale`.
const STALE: u64 = 3600;

/// For how long an answer of the cluster's DNS may be used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterDns {
    /// In seconds, from when it was true.
    pub seconds: u64,
    /// The settings that make it so, as they stand in a Corefile.
    pub settings: Vec<String>,
}

/// What the Corefiles of [`CONFIG_MAPS`], as many as there are, come to; none where none of them serves the cluster's names.
pub fn read(corefiles: &[String]) -> Option<ClusterDns> {
    let servers: Vec<Directive> = corefiles.iter().flat_map(|text| parse(text)).collect();
    let mut kept: Option<(u64, String)> = None;
    let mut domain = None;
    for server in &servers {
        for kubernetes in server.all("kubernetes") {
            let seconds = match kubernetes.all("ttl").next() {
                Some(ttl) => ttl.words.get(1)?.parse().ok()?,
                None => TTL,
            };
            if kept.as_ref().is_none_or(|(most, _)| seconds > *most) {
                kept = Some((seconds, format!("ttl {seconds}")));
                domain = Some(names_of(kubernetes, server));
            }
        }
    }
    let (mut seconds, setting) = kept?;
    let mut settings = vec![setting];
    let domain = domain?;
    let caches = servers
        .iter()
        .filter(|server| server.words.iter().any(|zone| covers(zone, &domain)))
        .flat_map(|server| server.all("cache"))
        .filter(|cache| cache.keeps(&domain));
    let mut stale: Option<(u64, String)> = None;
    for cache in caches {
        let least = cache.all("success").next();
        let least = least.and_then(|success| success.words.get(3)?.parse().ok());
        let least = least.unwrap_or(LEAST);
        if least > seconds {
            seconds = least;
            settings = vec![format!("success with a least time of {least}")];
        }
        for serve in cache.all("serve_stale") {
            let Some(more) = stale_for(serve) else {
                continue;
            };
            if stale.as_ref().is_none_or(|(most, _)| more > *most) {
                stale = Some((more, serve.words.join(" ")));
            }
        }
    }
    if let Some((more, setting)) = stale {
        seconds = seconds.saturating_add(more);
        settings.push(setting);
    }
    Some(ClusterDns { seconds, settings })
}

/// The domain of Services, of which the plugin, or else its server, knows also the names of addresses.
fn names_of(kubernetes: &Directive, server: &Directive) -> String {
    let own = kubernetes.words.iter().skip(1);
    let zones = own.chain(&server.words).map(|zone| plain(zone));
    let domain = zones
        .filter(|zone| !zone.is_empty() && zone.rsplit('.').next() != Some("arpa"))
        .map(str::to_owned)
        .next();
    domain.unwrap_or_else(|| "cluster.local".into())
}

/// `verify` asks whether something newer can be had, and the cluster's own names always can.
fn stale_for(serve: &Directive) -> Option<u64> {
    let mut arguments = serve.words.iter().skip(1);
    if arguments.clone().any(|word| word == "verify") {
        return None;
    }
    let time = arguments.next().map(|word| GoDuration::new(word).get());
    match time {
        None => Some(STALE),
        Some(time) => time.ok().as_ref().map(Duration::as_secs),
    }
}

/// Without scheme, port and the root's dot.
fn plain(zone: &str) -> &str {
    let zone = zone.split_once("://").map_or(zone, |(_, rest)| rest);
    let zone = zone.trim_end_matches(',');
    let zone = zone.split_once(':').map_or(zone, |(name, _)| name);
    zone.trim_end_matches('.')
}

fn covers(zone: &str, domain: &str) -> bool {
    let zone = plain(zone);
    domain
        .strip_suffix(zone)
        .is_some_and(|rest| zone.is_empty() || rest.is_empty() || rest.ends_with('.'))
}

/// A line, and what stands in its braces.
#[derive(Debug, Default)]
struct Directive {
    words: Vec<String>,
    body: Vec<Directive>,
}

impl Directive {
    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a Directive> {
        let named = move |own: &&Directive| own.words.first().is_some_and(|word| word == name);
        self.body.iter().filter(named)
    }

    /// Of the plugin `cache`: whether it keeps what there is of a domain.
    fn keeps(&self, domain: &str) -> bool {
        let among = |words: &[String]| {
            let mut zones = words
                .iter()
                .filter(|word| word.parse::<u64>().is_err())
                .peekable();
            zones.peek().is_none() || zones.any(|zone| covers(zone, domain))
        };
        let arguments = self.words.get(1..).unwrap_or_default();
        let disables = |own: &Directive| {
            let kind = own.words.get(1).map(String::as_str);
            kind == Some("success") && among(own.words.get(2..).unwrap_or_default())
        };
        among(arguments) && !self.all("disable").any(disables)
    }
}

/// The server blocks. What is imported is not looked at: each plugin is configured once in a server.
fn parse(text: &str) -> Vec<Directive> {
    // Of each brace that is open what stands before it, and in it so far.
    let mut open = vec![Directive::default()];
    for line in text.lines() {
        let mut words = words(line);
        if words.first().is_some_and(|word| word == "}") {
            if open.len() > 1
                && let Some(whole) = open.pop()
                && let Some(around) = open.last_mut()
            {
                around.body.push(whole);
            }
            continue;
        }
        let opens = words.last().is_some_and(|word| word == "{");
        if opens {
            words.pop();
        }
        let directive = Directive {
            words,
            body: Vec::new(),
        };
        if opens {
            open.push(directive);
        } else if !directive.words.is_empty()
            && let Some(around) = open.last_mut()
        {
            around.body.push(directive);
        }
    }
    open.swap_remove(0).body
}

/// Separated by blanks, unless in quotes, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            _ if letter.is_whitespace() && !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBEADM: &str = "
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";
    const NODE_LOCAL: &str = "
cluster.local:53 {
    errors
    cache {
            success 9984 30
            denial 9984 5
    }
    reload
    bind 169.254.20.10 10.96.0.10
    forward . 10.96.0.11 {
            force_tcp
    }
}
.:53 {
    cache 30
    forward . /etc/resolv.conf
}
";

    fn seconds(corefiles: &[&str]) -> Option<u64> {
        read(
            &corefiles
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
        .map(|dns| dns.seconds)
    }

    #[test]
    fn as_clusters_have_it() {
        assert_eq!(seconds(&[KUBEADM]), Some(30));
        assert_eq!(seconds(&[KUBEADM, NODE_LOCAL]), Some(30));
        assert_eq!(seconds(&[NODE_LOCAL]), None);
        assert_eq!(seconds(&[]), None);
        let k3s = ".:53 {\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    pods insecure\n  }\n  cache 30\n  import /etc/coredns/custom/*.override\n}\nimport /etc/coredns/custom/*.server";
        assert_eq!(seconds(&[k3s]), Some(5));
    }

    #[test]
    fn the_longest_ttl_counts() {
        let long = KUBEADM.replace("ttl 30", "ttl 120  # quiet");
        let dns = read(std::slice::from_ref(&long)).unwrap();
        assert_eq!((dns.seconds, dns.settings), (120, vec!["ttl 120".into()]));
        let two = format!("{KUBEADM}{long}");
        assert_eq!(seconds(&[&two]), Some(120));
        assert_eq!(seconds(&[&KUBEADM.replace("ttl 30", "ttl soon")]), None);
    }

    #[test]
    fn what_a_cache_adds() {
        for (cache, expected) in [
            ("cache 300", 30),
            ("cache {\n serve_stale\n}", 3630),
            ("cache {\n serve_stale 2m\n}", 150),
            ("cache {\n serve_stale 2m immediate\n}", 150),
            ("cache {\n serve_stale 2m verify\n}", 30),
            ("cache example.com {\n serve_stale\n}", 30),
            ("cache 30 cluster.local {\n serve_stale 1m\n}", 90),
            (
                "cache {\n serve_stale\n disable success cluster.local\n}",
                30,
            ),
            ("cache {\n serve_stale\n disable success\n}", 30),
            ("cache {\n serve_stale 1m\n disable denial\n}", 90),
            ("cache {\n success 1000 3600 60\n}", 60),
        ] {
            let own = KUBEADM.replace("loadbalance", cache);
            assert_eq!(seconds(&[&own]), Some(expected), "{cache}");
            // The same on the nodes.
            let there = format!("cluster.local:53 {{\n{cache}\nforward . 10.96.0.10\n}}");
            assert_eq!(seconds(&[KUBEADM, &there]), Some(expected), "{cache}");
        }
        let elsewhere = "example.com:53 {\n cache {\n serve_stale\n }\n}";
        assert_eq!(seconds(&[KUBEADM, elsewhere]), Some(30));
    }

    #[test]
    fn a_domain_of_ones_own() {
        let own = KUBEADM.replace("cluster.local in-addr", "k8s.example in-addr");
        let there =
            |zone: &str| format!("dns://{zone}.:53 {{\n cache {{\n serve_stale 1m\n }}\n}}");
        assert_eq!(seconds(&[&own, &there("k8s.example")]), Some(90));
        assert_eq!(seconds(&[&own, &there("example")]), Some(90));
        assert_eq!(seconds(&[&own, &there("s.example")]), Some(30));
        assert_eq!(seconds(&[&own, &there("cluster.local")]), Some(30));
    }

    #[test]
    fn whatever_stands_there_is_read() {
        for text in ["", "}", "}}\n}\n{", "{\n{\n{", "a {\n b {\n", "\"", "# {"] {
            assert_eq!(seconds(&[text]), None, "{text}");
        }
        let quoted = KUBEADM.replace("ttl 30", "\"ttl\" \"45\"");
        assert_eq!(seconds(&[&quoted]), Some(45));
    }
}
