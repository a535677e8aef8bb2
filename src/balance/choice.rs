//! By which family a backend is judged: one for all its pods, since two servers that count differently cannot be compared.

use super::exposition::{Counters, Family, Page};
use super::families::{Counted, MeterId, Place};
use super::round::ScrapeError;

/// Rounds in a row that another family must have been the better one: pods that fail a scrape now and then must not make the
/// choice go to and fro, since every change begins all windows anew.
const ROUNDS: u32 = 3;

/// The choice of one backend, over time.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    chosen: Option<MeterId>,
    /// What would have been chosen instead, and in how many rounds in a row.
    rival: Option<(MeterId, u32)>,
}

impl Choice {
    /// Takes the pages of a round. `asked`: the family that the user names.
    pub fn round(&mut self, pages: &[&Page], asked: Option<MeterId>) -> Option<MeterId> {
        if asked.is_some() {
            *self = Self {
                chosen: asked,
                rival: None,
            };
            return asked;
        }
        let best = best(pages);
        let stands = self.chosen.is_some_and(|chosen| {
            pages.is_empty()
                || pages.iter().any(|page| page.shows(chosen))
                // A sidecar counts from the start, the server beside it perhaps only from its first request.
                || is_own(chosen) && best.is_some_and(|best| !is_own(best))
        });
        match (best, self.chosen) {
            (Some(best), Some(chosen)) if best != chosen && stands => {
                let rounds = match self.rival {
                    Some((rival, rounds)) if rival == best => rounds + 1,
                    _ => 1,
                };
                self.rival = Some((best, rounds));
                if rounds >= ROUNDS {
                    *self = Self {
                        chosen: Some(best),
                        rival: None,
                    };
                }
            }
            (Some(best), _) => {
                *self = Self {
                    chosen: Some(best),
                    rival: None,
                };
            }
            // Nobody shows any: what was chosen comes back with the next RPC.
            (None, _) => self.rival = None,
        }
        self.chosen
    }
}

/// The family that most pods can be compared by; of equals one that has counted something, and then the earliest of the catalogue.
fn best(pages: &[&Page]) -> Option<MeterId> {
    let worth = |meter: &MeterId| {
        let comparable = pages
            .iter()
            .filter(|page| counters(page, *meter).is_ok())
            .count();
        // A sidecar counts probes where the server itself leaves them out, so that it always has counted.
        let counted = is_own(*meter) && pages.iter().any(|page| page.has_counted(*meter));
        (comparable, counted, std::cmp::Reverse(*meter))
    };
    MeterId::all()
        .filter(|meter| pages.iter().any(|page| page.shows(*meter)))
        .max_by_key(worth)
}

fn is_own(meter: MeterId) -> bool {
    meter
        .meter()
        .is_some_and(|known| known.place == Place::Server)
}

/// What a page says by the chosen family. Many servers show a family only after the first RPC, so that a page with nothing
/// counted under any family is an idle pod; one that has counted under another cannot be compared.
pub fn counters(page: &Page, chosen: MeterId) -> Result<Counters, ScrapeError> {
    let other = || page.meters().find(|meter| page.has_counted(*meter));
    if !page.shows(chosen) && other().is_some() {
        return Err(ScrapeError::OtherFamily);
    }
    Ok(page.counters(chosen))
}

/// What was chosen, and why, in half a sentence.
pub fn reason(chosen: MeterId, family: Family) -> String {
    let Some(meter) = chosen.meter() else {
        return String::new();
    };
    let place = match meter.place {
        Place::Server => "the server itself",
        Place::Sidecar => "a sidecar, since no server shows a known metric of its own",
    };
    let when = match family {
        Family::Started => "as they begin",
        Family::Handled => "as they end",
    };
    let but = match meter.counts {
        Counted::Rpcs => "",
        Counted::Requests => ", other requests than RPCs among them",
        Counted::Messages => ", where a stream counts once for each",
    };
    let unseen = if meter.sees_open() {
        ""
    } else {
        "; long streams that are open are not seen by it"
    };
    format!(
        "{} counted {when} by {place}{but} (family {}){unseen}",
        meter.counts.noun(),
        meter.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::exposition::{Wanted, read};

    const OWN: &str = "grpc_server_started_total 5\n";
    const OWN_IDLE: &str = "# TYPE grpc_server_started_total counter\n";
    const OTEL: &str = "rpc_server_call_duration_seconds_count 5\n";
    const ISTIO: &str =
        "istio_requests_total{reporter=\"destination\",request_protocol=\"grpc\"} 5\n";
    const ENVOY_IDLE: &str = "envoy_http_downstream_rq_total 0\n";

    fn page(texts: &[&str]) -> Page {
        read(texts.concat().as_bytes(), &Wanted::default()).unwrap()
    }

    fn chosen(choice: &mut Choice, pages: &[Page]) -> Option<&'static str> {
        let pages: Vec<&Page> = pages.iter().collect();
        let meter = choice.round(&pages, None)?.meter()?;
        Some(&meter.name)
    }

    fn first(pages: &[Page]) -> Option<&'static str> {
        chosen(&mut Choice::default(), pages)
    }

    #[test]
    fn the_best_that_all_pods_have_is_chosen() {
        let both = || page(&[ISTIO, OWN]);
        assert_eq!(first(&[both(), both()]), Some("GrpcMiddleware"));
        assert_eq!(first(&[both(), page(&[ISTIO])]), Some("Istio"));
        assert_eq!(first(&[page(&[OTEL, OWN])]), Some("GrpcMiddleware"));
        assert_eq!(first(&[page(&[OTEL, ISTIO])]), Some("OtelRpc"));
        assert_eq!(first(&[page(&[])]), None);
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn a_server_that_has_counted_goes_before_one_that_never_does() {
        assert_eq!(first(&[page(&[OWN_IDLE, OTEL])]), Some("OtelRpc"));
        assert_eq!(first(&[page(&[OWN_IDLE, ISTIO])]), Some("GrpcMiddleware"));
    }

    #[test]
    fn an_idle_pod_is_compared_and_one_that_counts_otherwise_is_not() {
        let own = MeterId::named("GrpcMiddleware").unwrap();
        assert_eq!(counters(&page(&[]), own).unwrap().preferred(), None);
        assert_eq!(
            counters(&page(&[ENVOY_IDLE]), own).unwrap().preferred(),
            None
        );
        assert_eq!(counters(&page(&[OTEL]), own), Err(ScrapeError::OtherFamily));
        let said = counters(&page(&[OTEL, OWN]), own).unwrap();
        assert_eq!(said.get(Family::Started), Some(5.0));
    }

    #[test]
    fn a_round_without_some_pods_changes_nothing() {
        let mut choice = Choice::default();
        let all = [page(&[ISTIO, OWN]), page(&[ISTIO])];
        assert_eq!(chosen(&mut choice, &all), Some("Istio"));
        assert_eq!(chosen(&mut choice, &all[..1]), Some("Istio"));
        assert_eq!(chosen(&mut choice, &[]), Some("Istio"));
        assert_eq!(chosen(&mut choice, &[page(&[])]), Some("Istio"));
        assert_eq!(chosen(&mut choice, &all), Some("Istio"));
        for _ in 0..ROUNDS - 1 {
            assert_eq!(chosen(&mut choice, &all[..1]), Some("Istio"));
        }
        assert_eq!(chosen(&mut choice, &all[..1]), Some("GrpcMiddleware"));
        assert_eq!(chosen(&mut choice, &[page(&[OTEL])]), Some("OtelRpc"));
    }

    #[test]
    fn a_round_with_sidecars_alone_changes_nothing() {
        let mut choice = Choice::default();
        let all = [page(&[ISTIO, OWN]), page(&[ISTIO, OWN])];
        let started_anew = [page(&[ISTIO]), page(&[ISTIO])];
        assert_eq!(chosen(&mut choice, &all), Some("GrpcMiddleware"));
        for _ in 0..ROUNDS - 1 {
            assert_eq!(chosen(&mut choice, &started_anew), Some("GrpcMiddleware"));
        }
        assert_eq!(chosen(&mut choice, &all), Some("GrpcMiddleware"));
        for _ in 0..ROUNDS - 1 {
            assert_eq!(chosen(&mut choice, &started_anew), Some("GrpcMiddleware"));
        }
        assert_eq!(chosen(&mut choice, &started_anew), Some("Istio"));
    }

    #[test]
    fn what_the_user_names_is_taken() {
        let istio = MeterId::named("Istio");
        assert_eq!(Choice::default().round(&[&page(&[OWN])], istio), istio);
        assert_eq!(MeterId::named("istio"), None);
    }

    #[test]
    fn the_reason_is_a_sentence() {
        let said = |name| reason(MeterId::named(name).unwrap(), Family::Started);
        assert_eq!(
            said("GrpcMiddleware"),
            "RPCs counted as they begin by the server itself (family GrpcMiddleware)"
        );
        assert_eq!(
            said("MicrometerMessages"),
            "messages counted as they begin by the server itself, where a stream counts once for each (family MicrometerMessages); \
             long streams that are open are not seen by it"
        );
    }
}
