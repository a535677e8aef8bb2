//! A report in sentences that end in what to do, where there is something to do.

use super::super::choice;
use super::super::dispersion::UNKNOWN;
use super::super::judge::MAX_PODS;
use super::super::verdict::NEARLY_ALL;
use super::{Counters, Family, OpenRpcs, Report, Settings, Share, Verdict};

pub(in crate::balance) fn scraped(
    pods: u32,
    by: Option<(Family, Counters)>,
    without: usize,
) -> String {
    let (name, why) = by.map_or_else(Default::default, |(family, counters)| {
        (
            counters.name(family),
            choice::reason(counters.meter, family),
        )
    });
    let idle = match without {
        0 => String::new(),
        1 => "; 1 pod does not show it yet and counts as idle".to_owned(),
        some => format!("; {some} pods do not show it yet and count as idle"),
    };
    format!("{} scraped for {name}: {why}{idle}", count(pods, "pod"))
}

pub(in crate::balance) fn no_known_metric(pods: u32) -> String {
    format!(
        "{} answered, but none shows a metric that is known to count RPCs, such as grpc_server_started_total: \
         either no request has been served yet (many servers show the metric only then), or the servers do not count \
         requests on this page: have them expose one (docs/metrics.md lists them), or name the port that has it in \
         spec.balance.metrics.port",
        count(pods, "pod")
    )
}

fn count(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The verdict in a sentence that ends in what to do, where there is something to do.
pub(in crate::balance) fn message(report: &Report, settings: &Settings) -> String {
    let mut message = without_numbers(report).unwrap_or_else(|| {
        let sentence = sentence(report, settings);
        match failing(report) {
            some if some > 0 && is_of_figures(report.verdict) => {
                format!("{sentence}; {}", give_none(some, ""))
            }
            _ => sentence,
        }
    });
    if report.left_out > 0 {
        let more = match report.left_out {
            1 => "1 more pod is".to_owned(),
            more => format!("{more} more pods are"),
        };
        message = format!("{message}; {more} left out: {MAX_PODS} are looked at, at most");
    }
    if report.by_capacity && (report.verdict.is_trouble() || report.verdict == Verdict::Balanced) {
        return format!(
            "{message}; a pod's fair share is its part of all CPU requests, because those differ"
        );
    }
    message
}

/// The verdict where most is to be said of the pods that give no numbers.
fn without_numbers(report: &Report) -> Option<String> {
    const STANDS: &str = "what was said before still stands";
    let Report { judged, pods, .. } = report;
    let why = &report.metrics.message;
    let failing = failing(report);
    // As the judge has it: too few of the grown pods can be judged.
    let too_few = failing > 0 && (*judged < 2 || *judged < failing);
    match report.verdict {
        Verdict::InsufficientData if too_few => {
            Some(format!("only {judged} of {pods} pods can be judged: {why}"))
        }
        verdict if too_few && is_of_figures(verdict) => Some(format!(
            "only {judged} of {pods} pods can be judged now: {why}; {STANDS}"
        )),
        _ if report.missing > 0 => {
            let give_none = give_none(report.missing, " that showed it");
            Some(format!(
                "{}; {give_none} now: {why}; {STANDS}",
                was(report)?
            ))
        }
        _ => None,
    }
}

fn failing(report: &Report) -> u32 {
    report.pods.saturating_sub(report.judged + report.warming)
}

fn give_none(pods: u32, which: &str) -> String {
    let verb = if pods == 1 { "gives" } else { "give" };
    format!("{}{which} {verb} no numbers", count(pods, "pod"))
}

fn sentence(report: &Report, settings: &Settings) -> String {
    let Report { judged, .. } = report;
    let max = report.max_over_mean.unwrap_or(1.0);
    let (mean, fair) = if report.by_capacity {
        ("a pod's fair share", "its fair share among")
    } else {
        ("the mean", "the mean of")
    };
    let most = report.culprit.unwrap_or(max);
    let min = report.min_over_mean.unwrap_or(1.0);
    let hottest = report.hottest.first();
    let hottest = hottest.map_or("one pod", |share| share.pod.as_str());
    let also = names(report.hottest.get(1..).unwrap_or_default(), 0, "");
    let starved = names(&report.starved, report.starved_pods, "a pod");
    let it = if report.starved_pods > 1 {
        "them"
    } else {
        "it"
    };
    if let Some(was) = was(report) {
        return format!(
            "{was}; the last window shows it no more, and whether that lasts is being watched"
        );
    }
    match report.verdict {
        Verdict::Balanced if report.last_window.is_trouble() => format!(
            "requests are spread evenly over {judged} pods but for the last window; whether that lasts is being watched"
        ),
        Verdict::Balanced if is_clumped(report, settings) => format!(
            "requests are spread evenly over {judged} pods only in the long run: the last window has from {min:.2} to {max:.2} times {mean}, \
             which fits requests that come some {:.0} at a time to one pod, and clients that keep one connection each; have such \
             clients dial the headless Service with round_robin",
            report.dispersion
        ),
        Verdict::Balanced => format!("requests are spread evenly over {judged} pods"),
        Verdict::SinglePod => "one pod is judged: there is nothing to balance".into(),
        Verdict::Skewed => format!(
            "requests are uneven over {judged} pods: from {min:.2} to {max:.2} times {mean}; \
             look for clients that do not use round_robin on the headless Service"
        ),
        Verdict::HotPod if also.is_empty() => format!(
            "{hottest} has {most:.2} times {fair} {judged} pods; look for a client that keeps one connection to it"
        ),
        Verdict::HotPod => format!(
            "{hottest} has {most:.2} times {fair} {judged} pods, and too many requests go to {also} as well; look for clients that keep one connection to each"
        ),
        Verdict::NewPodsStarved => format!(
            "{starved} served no request since becoming ready: clients have not found {it}; \
             set spec.connectionAge so that they look again, or use clients that watch endpoints{}",
            uncounted(report, &starved)
        ),
        Verdict::FewClients => format!(
            "{}; the connections are too few to reach every pod: dial the headless Service with round_robin, \
             and if the clients do, set spec.connectionAge so that they look again{}",
            few_clients(report),
            uncounted(report, &starved)
        ),
        Verdict::InsufficientData => format!(
            "too few requests to tell: at least {} per pod in {} s are needed{}",
            settings.thresholds.min_requests,
            settings.window.as_secs(),
            unseen(report)
        ),
        Verdict::NoTraffic => format!(
            "{judged} pods, and no request in the last {} s{}",
            settings.window.as_secs(),
            unseen(report)
        ),
        Verdict::NoPods => "no ready pod matches spec.selector".into(),
        Verdict::RollingOut => {
            "the pods are being replaced; balance is judged once that is done, or goes no further"
                .into()
        }
        Verdict::StreamsOnly => open_rpcs(report),
        Verdict::WarmingUp if *judged > 1 => {
            "the requests are uneven; whether that lasts is being watched".into()
        }
        Verdict::WarmingUp => warming_up(report, settings),
        Verdict::NoMetrics => format!("no pod gives numbers: {}", report.metrics.message),
        Verdict::Off => "balance is not observed: spec.balance.mode is Disabled".into(),
        Verdict::Observed => "spec.balance.mode is Observe: numbers without a verdict".into(),
    }
}

/// Whether its sentence is of requests that several pods have, or do not have.
fn is_of_figures(verdict: Verdict) -> bool {
    use Verdict::{Balanced, InsufficientData, NoTraffic, StreamsOnly};
    verdict.is_trouble()
        || matches!(
            verdict,
            Balanced | InsufficientData | NoTraffic | StreamsOnly
        )
}

/// Whether the last window is uneven, and only requests that come many at a time to one pod explain it. Clients with one connection
/// that choose another pod with each age look the same, and counts of windows do not tell which it is.
fn is_clumped(report: &Report, settings: &Settings) -> bool {
    let thresholds = &settings.thresholds;
    let is_hot = |max| max > thresholds.max_over_mean;
    let is_idle = |min| min < thresholds.min_over_mean;
    let is_large =
        report.max_over_mean.is_some_and(is_hot) || report.min_over_mean.is_some_and(is_idle);
    is_large && report.last_window == Verdict::Balanced && report.dispersion >= UNKNOWN
}

/// What is only still said: there is no pod to name any more that shows it.
fn was(report: &Report) -> Option<&'static str> {
    let (no_hot, no_idle) = (report.hottest.is_empty(), report.starved.is_empty());
    match report.verdict {
        Verdict::HotPod if no_hot => Some("one pod had far more requests than the others"),
        Verdict::NewPodsStarved if no_idle => {
            Some("new pods served no request since becoming ready")
        }
        Verdict::FewClients if no_hot && no_idle => {
            Some("the connections were too few to reach every pod")
        }
        // The figures of the others are not uneven.
        Verdict::Skewed if report.missing > 0 && no_hot && no_idle => {
            Some("the requests were uneven")
        }
        _ => None,
    }
}

fn warming_up(report: &Report, settings: &Settings) -> String {
    let (are, they, have) = match report.warming {
        1 => ("is", "it is", "it has"),
        _ => ("are", "they are", "they have"),
    };
    let ready = format!("{} s after becoming ready", settings.promise().as_secs());
    let read = format!(
        "once {have} been read for {} s without a break",
        settings.window.as_secs()
    );
    let when = match (report.young, report.warming - report.young) {
        (_, 0) => ready,
        (0, _) => read,
        _ => format!("{ready}, and {read}"),
    };
    let pods = count(report.warming, "pod");
    format!("{pods} {are} warming up: {they} judged {when}")
}

/// What shows that the connections are too few.
fn few_clients(report: &Report) -> String {
    match (report.hottest.first(), report.starved.len()) {
        (Some(hottest), _) if hottest.share >= NEARLY_ALL => {
            format!("{} has nearly all requests", hottest.pod)
        }
        (Some(hottest), 0) => {
            let percent = hottest.share * 100.0;
            format!("{} has {percent:.0} % of all requests", hottest.pod)
        }
        (_, 0 | 1) => format!("{} is idle", names(&report.starved, 1, "a pod")),
        _ => format!(
            "{} are idle",
            names(&report.starved, report.starved_pods, "some pods")
        ),
    }
}

/// What else may have a pod look idle.
fn uncounted(report: &Report, starved: &str) -> String {
    let (which, verb, page) = match (report.uncounted, report.starved_pods) {
        (0, _) => return String::new(),
        (1, 1) => (starved.to_owned(), "counts", "its page has"),
        (1, _) => ("1 of the idle pods".to_owned(), "counts", "its page has"),
        (some, all) if some == all => (starved.to_owned(), "count", "their pages have"),
        (some, _) => (
            format!("{some} of the idle pods"),
            "count",
            "their pages have",
        ),
    };
    format!(
        "; or {which} {verb} requests in no metric that is known: see whether {page} one that docs/metrics.md lists"
    )
}

/// What few requests do not deny, where it cannot be seen.
fn unseen(report: &Report) -> &'static str {
    match report.open_rpcs {
        Some(OpenRpcs::Seen { .. }) => "",
        _ => {
            "; whether long streams are open cannot be seen, since the servers do not count both the RPCs that begin and those that end"
        }
    }
}

fn open_rpcs(report: &Report) -> String {
    let begins = match report.requests_per_second {
        Some(rate) if rate > 0.0 => "little",
        _ => "nothing",
    };
    if let Some(OpenRpcs::Seen {
        total,
        fewest,
        most,
    }) = report.open_rpcs
    {
        // As it is shown.
        let are = if total.round() > 1.0 { "s are" } else { " is" };
        return format!(
            "{begins} new begins, and {total:.0} long stream{are} open, from {fewest:.0} to {most:.0} a pod: counting requests says \
             nothing of what they carry"
        );
    }
    format!(
        "{begins} new begins, and whether streams are open cannot be seen: have the servers count both the RPCs that begin and those \
         that end, such as grpc_server_started_total and grpc_server_handled_total"
    )
}

/// The first of so many pods by name; a message is no list, and the list may be cut too.
fn names(shares: &[Share], pods: u32, unknown: &str) -> String {
    const SOME: usize = 3;
    if shares.is_empty() {
        return unknown.to_owned();
    }
    let some: Vec<&str> = shares
        .iter()
        .take(SOME)
        .map(|share| share.pod.as_str())
        .collect();
    let all = usize::try_from(pods)
        .unwrap_or(usize::MAX)
        .max(shares.len());
    match all - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_only_in_the_long_run_is_said_of_large_figures_that_bursts_explain() {
        use Verdict::{Balanced, HotPod, InsufficientData};
        for (dispersion, last_window, max, is_said) in [
            (UNKNOWN, Balanced, 1.51, true),
            (9.99, Balanced, 1.51, false),
            (UNKNOWN, InsufficientData, 1.51, false),
            (UNKNOWN, HotPod, 1.51, false),
            (UNKNOWN, Balanced, 1.5, false),
        ] {
            let report = Report {
                verdict: Balanced,
                last_window,
                dispersion,
                max_over_mean: Some(max),
                ..Report::default()
            };
            let message = message(&report, &Settings::default());
            assert_eq!(message.contains("in the long run"), is_said, "{message}");
            let is_watched = last_window == HotPod;
            assert_eq!(message.contains("watched"), is_watched, "{message}");
        }
    }
}
