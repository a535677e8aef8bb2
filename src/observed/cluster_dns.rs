//! How old the answers of a cluster's DNS servers may be, as the configuration of CoreDNS says.
//!
//! CoreDNS answers from a watch: what makes an answer old is who keeps it. Each keeps it for its TTL at most, however many keep it one
//! after the other, since each passes on what is left. The plugin `kubernetes` sets the TTL; a plugin `cache` on the way puts it between the
//! least and the most for which it keeps a success, whether it keeps the name or not (`disable`). With `serve_stale` it answers at once with
//! what has expired. Not looked at: `keepttl`, `rewrite ttl`, and what is imported.
//! Sources: <https://coredns.io/plugins/kubernetes/>, <https://coredns.io/plugins/cache/>, and `computeTTL` in the latter's `cache.go`.

use std::fmt;
use std::time::Duration;

use crate::api::GoDuration;

/// Where clusters configure their DNS servers.
pub const NAMESPACE: &str = "kube-system";
/// The ConfigMaps there: of the cluster's servers, and of the caches on its nodes, if there are any.
pub const CONFIG_MAPS: [&str; 2] = ["coredns", "node-local-dns"];
/// The entry that CoreDNS reads.
pub const KEY: &str = "Corefile";

/// In bytes, of one: many times what any cluster has.
const MOST: usize = 64 << 10;
/// Braces in braces: CoreDNS has plugins in servers, and settings in plugins.
const DEPTH: usize = 4;
/// Without `ttl`.
const TTL: u64 = 5;
/// The most that CoreDNS takes for `ttl`, and for how long a cache keeps without a time of its own.
const LONGEST: u64 = 3600;
/// Without a third number after `success`.
const LEAST: u64 = 5;
/// Without a time after `serve_stale`.
const STALE: u64 = 3600;

/// One of [`CONFIG_MAPS`].
#[derive(Clone, Debug)]
pub struct Corefile {
    /// The ConfigMap's name.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// For how long an answer of the cluster's DNS may be used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterDns {
    /// In seconds, from when it was true.
    pub seconds: u64,
    /// What makes it so, each with the name of its ConfigMap.
    pub settings: Vec<(Setting, String)>,
}

/// A setting in a Corefile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Setting {
    /// Of the plugin `kubernetes`, in seconds.
    Ttl(u64),
    /// Of the plugin `cache`: the least time for which it keeps a success.
    Least(u64),
    /// Likewise: that it serves what has expired, as it stands there.
    ServeStale(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ttl(seconds) => write!(f, "ttl {seconds}"),
            Self::Least(seconds) => write!(f, "a least time of {seconds} after success"),
            Self::ServeStale(line) => f.write_str(line),
        }
    }
}

/// What these come to, in the order in which an answer passes them; none where none of them serves the cluster's names, or one is like no
/// configuration.
pub fn read(corefiles: &[Corefile]) -> Option<ClusterDns> {
    let mut dns: Option<(String, ClusterDns)> = None;
    for corefile in corefiles {
        let servers = parse(&corefile.text)?;
        let source = servers.iter().find_map(|server| {
            let kubernetes = server.all("kubernetes").next()?;
            Some((names_of(kubernetes, server), kubernetes))
        });
        if let (None, Some((domain, kubernetes))) = (&dns, source) {
            let seconds = match kubernetes.all("ttl").last() {
                Some(ttl) => ttl.number(1).filter(|own| *own <= LONGEST)?,
                None => TTL,
            };
            let settings = vec![(Setting::Ttl(seconds), corefile.name.clone())];
            dns = Some((domain, ClusterDns { seconds, settings }));
        }
        if let Some((domain, dns)) = &mut dns
            && let Some(cache) = most_specific(&servers, domain)
                .and_then(|server| server.all("cache").next())
                .filter(|cache| cache.is_for(domain))
        {
            dns.pass(cache, domain, &corefile.name);
        }
    }
    dns.map(|(_, dns)| dns)
}

impl ClusterDns {
    /// What becomes of an answer in a cache.
    fn pass(&mut self, cache: &Directive, domain: &str, config_map: &str) {
        let success = cache.all("success").last();
        let number = |at| success.and_then(|own| own.number(at));
        let most = number(2).or_else(|| cache.number(1)).unwrap_or(LONGEST);
        let least = number(3).unwrap_or(LEAST);
        let seconds = self.seconds.max(least).min(most);
        if seconds > self.seconds {
            self.settings = vec![(Setting::Least(seconds), config_map.to_owned())];
        }
        self.seconds = seconds;
        if cache.keeps(domain)
            && let Some(serve) = cache.all("serve_stale").last()
            && let Some(more) = stale_for(serve)
        {
            self.seconds = self.seconds.saturating_add(more);
            let setting = Setting::ServeStale(serve.words.join(" "));
            self.settings.push((setting, config_map.to_owned()));
        }
    }
}

/// The domain of Services, of which the plugin, or else its server, knows also the names of addresses.
fn names_of(kubernetes: &Directive, server: &Directive) -> String {
    let own = kubernetes.words.iter().skip(1);
    let mut zones = own.chain(&server.words).map(|zone| plain(zone));
    let is_of_names = |zone: &&str| {
        !zone.is_empty()
            && !zone.contains('/')
            && !zone.ends_with("in-addr.arpa")
            && !zone.ends_with("ip6.arpa")
    };
    let domain = zones.find(is_of_names);
    domain.unwrap_or("cluster.local").to_owned()
}

/// Of several servers of one configuration CoreDNS asks the one of the longest zone.
fn most_specific<'a>(servers: &'a [Directive], domain: &str) -> Option<&'a Directive> {
    let zones = servers.iter().flat_map(|server| {
        let covering = server.words.iter().filter(|zone| covers(zone, domain));
        covering.map(move |zone| (plain(zone).len(), server))
    });
    zones
        .max_by_key(|(length, _)| *length)
        .map(|(_, server)| server)
}

/// `verify` asks whether something newer can be had, and the cluster's own names always can.
fn stale_for(serve: &Directive) -> Option<u64> {
    let mut arguments = serve.words.iter().skip(1);
    if arguments
        .clone()
        .any(|word| word.eq_ignore_ascii_case("verify"))
    {
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

    fn number(&self, at: usize) -> Option<u64> {
        self.words.get(at)?.parse().ok()
    }

    /// Of the plugin `cache`: whether answers of a domain pass it.
    fn is_for(&self, domain: &str) -> bool {
        among(self.words.get(1..).unwrap_or_default(), domain)
    }

    /// Of the plugin `cache`: whether it keeps what passes it of a domain.
    fn keeps(&self, domain: &str) -> bool {
        let disables = |own: &Directive| {
            let kind = own.words.get(1).map(String::as_str);
            kind == Some("success") && among(own.words.get(2..).unwrap_or_default(), domain)
        };
        !self.all("disable").any(disables)
    }
}

/// Whether a domain is of one of the zones among some arguments; without zones it is.
fn among(words: &[String], domain: &str) -> bool {
    let is_zone = |word: &&String| word.parse::<u64>().is_err();
    let mut zones = words.iter().filter(is_zone).peekable();
    zones.peek().is_none() || zones.any(|zone| covers(zone, domain))
}

/// The server blocks; none where it is too long or too deep for a configuration.
fn parse(text: &str) -> Option<Vec<Directive>> {
    if text.len() > MOST {
        return None;
    }
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
            if open.len() > DEPTH {
                return None;
            }
            open.push(directive);
        } else if !directive.words.is_empty()
            && let Some(around) = open.last_mut()
        {
            around.body.push(directive);
        }
    }
    Some(open.swap_remove(0).body)
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

    fn dns(corefiles: &[&str]) -> Option<ClusterDns> {
        let named = CONFIG_MAPS.iter().zip(corefiles);
        let all = named.map(|(name, text)| Corefile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        });
        read(&all.collect::<Vec<_>>())
    }

    fn seconds(corefiles: &[&str]) -> Option<u64> {
        dns(corefiles).map(|dns| dns.seconds)
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
    fn the_ttl_and_what_bounds_it() {
        // A cache passes on no more than it would keep, whether it keeps it or not.
        let long = KUBEADM.replace("ttl 30", "ttl 120  # quiet");
        assert_eq!(seconds(&[&long]), Some(30));
        let long = long.replace("cache 30 {", "cache 300 {");
        let found = dns(&[&long]).unwrap();
        assert_eq!(found.seconds, 120);
        assert_eq!(found.settings, [(Setting::Ttl(120), "coredns".to_owned())]);
        // The cache on the nodes does so too.
        assert_eq!(seconds(&[&long, NODE_LOCAL]), Some(30));
        for wrong in ["ttl soon", "ttl 3601", "ttl"] {
            assert_eq!(seconds(&[&KUBEADM.replace("ttl 30", wrong)]), None);
        }
    }

    #[test]
    fn what_a_cache_adds() {
        for (cache, expected) in [
            ("cache 300", 30),
            ("cache", 30),
            ("cache 10", 10),
            ("cache {\n serve_stale\n}", 3630),
            ("cache {\n serve_stale 2m\n}", 150),
            ("cache {\n serve_stale 2m immediate\n}", 150),
            ("cache {\n serve_stale 2m VERIFY\n}", 30),
            ("cache example.com {\n serve_stale\n}", 30),
            ("cache 30 cluster.local {\n serve_stale 1m\n}", 90),
            (
                "cache {\n serve_stale\n disable success cluster.local\n}",
                30,
            ),
            ("cache {\n serve_stale\n disable success\n}", 30),
            ("cache {\n serve_stale 1m\n disable denial\n}", 90),
            ("cache {\n success 1000 3600 60\n}", 60),
            // The most goes before the least.
            ("cache {\n success 1000 30 60\n}", 30),
        ] {
            let (before, rest) = KUBEADM.split_once("cache 30 {").unwrap();
            let (_, after) = rest.split_once("    }\n").unwrap();
            let own = format!("{before}{cache}\n{after}");
            assert_eq!(seconds(&[&own]), Some(expected), "{cache}");
            // The same on the nodes, also beside another zone's server.
            let plain = format!("{before}{after}");
            let there = format!(
                "cluster.local:53 {{\n{cache}\nforward . 10.96.0.10\n}}\n.:53 {{\n cache {{\n serve_stale\n }}\n}}"
            );
            assert_eq!(seconds(&[&plain, &there]), Some(expected), "{cache}");
        }
        let both = dns(&[
            &KUBEADM.replace("ttl 30", "ttl 20"),
            &NODE_LOCAL.replace("denial 9984 5", "serve_stale 1h"),
        ]);
        assert_eq!(
            both.unwrap().settings,
            [
                (Setting::Ttl(20), "coredns".to_owned()),
                (
                    Setting::ServeStale("serve_stale 1h".into()),
                    "node-local-dns".to_owned()
                )
            ]
        );
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
        assert_eq!(seconds(&[&quoted.replace("cache 30", "cache")]), Some(45));
        // Nothing that a configuration has.
        let deep = "{\n".repeat(100_000) + KUBEADM;
        assert_eq!(seconds(&[&deep]), None);
        let long = "a\n".repeat(40_000) + KUBEADM;
        assert_eq!(seconds(&[&long]), None);
    }
}
