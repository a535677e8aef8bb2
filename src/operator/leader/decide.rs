//! What to do about the Lease, from what it says and how long it has said so.

use std::time::Duration;

/// What the Lease says of itself: this long after its last renewal it has another holder, if there is one to take it.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long others see it unchanged before they take it. It was renewed at most a look before they first saw it so, and the rest is for
/// their requests.
pub const TAKEOVER: Duration = Duration::from_secs(13);
/// How often it is renewed.
pub const RETRY: Duration = Duration::from_secs(3);
/// How often one that is held by another is looked at.
pub const LOOK: Duration = Duration::from_secs(1);
/// A holder that could not renew for this long writes nothing more and ends, well before anybody else may take the lease.
pub const DEADLINE: Duration = Duration::from_secs(8);
/// What was sent and is not acknowledged after this time never arrives. A write goes out while the term lasts, at the latest
/// [`DEADLINE`] after the Lease was renewed: with this it has arrived or died before another may take the Lease. Closing a
/// connection is not enough, since the kernel goes on sending what a program left behind, even a dead one.
pub const UNACKNOWLEDGED: Duration = Duration::from_secs(4);
/// For passes under way when the end is asked for. What they then leave behind has [`UNACKNOWLEDGED`] to arrive, before the Lease is
/// given up.
pub const FINISH: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// There is none: create it.
    Create,
    /// It is free, or its holder is gone: take it.
    Take,
    /// Another holds it, or what its holder has sent may arrive still.
    Wait,
}

/// Who holds the Lease.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// It does not exist.
    NoLease,
    /// It was deleted while another held it, who need not know of that yet.
    Deleted,
    /// It was given up.
    Nobody,
    /// This process or another.
    Is(&'a str),
}

/// `unchanged` is how long this process has seen the Lease as it is, or that there is none, by its own clock: the clocks of two machines are
/// never compared.
pub fn decide(holder: &Holder<'_>, me: &str, unchanged: Duration) -> Decision {
    match holder {
        Holder::NoLease => Decision::Create,
        Holder::Deleted if unchanged >= TAKEOVER => Decision::Create,
        Holder::Nobody => Decision::Take,
        // Whoever held it by this name, in this pod, had ended when this process was started: it sends nothing more.
        Holder::Is(holder) if *holder == me && unchanged >= UNACKNOWLEDGED => Decision::Take,
        Holder::Is(_) if unchanged >= TAKEOVER => Decision::Take,
        Holder::Is(_) | Holder::Deleted => Decision::Wait,
    }
}

/// How long to wait for the next look when the last one took so long: until the next is due, or until the Lease may be taken.
pub fn pause(unchanged: Duration, took: Duration) -> Duration {
    let look = LOOK.saturating_sub(took);
    match TAKEOVER.checked_sub(unchanged) {
        Some(rest) if !rest.is_zero() => rest.min(look),
        _ => look,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_only_when_free_or_expired() {
        let now = Duration::ZERO;
        assert_eq!(decide(&Holder::NoLease, "a", now), Decision::Create);
        assert_eq!(decide(&Holder::Is("a"), "a", now), Decision::Wait);
        assert_eq!(
            decide(&Holder::Is("a"), "a", UNACKNOWLEDGED),
            Decision::Take
        );
        assert_eq!(
            decide(&Holder::Is("b"), "a", UNACKNOWLEDGED),
            Decision::Wait
        );
        assert_eq!(decide(&Holder::Nobody, "a", now), Decision::Take);
        assert_eq!(decide(&Holder::Is("b"), "a", now), Decision::Wait);
        assert_eq!(
            decide(&Holder::Is("b"), "a", TAKEOVER.saturating_sub(RETRY)),
            Decision::Wait
        );
        assert_eq!(decide(&Holder::Is("b"), "a", TAKEOVER), Decision::Take);
        assert_eq!(decide(&Holder::Deleted, "a", now), Decision::Wait);
        assert_eq!(decide(&Holder::Deleted, "a", TAKEOVER), Decision::Create);
    }

    #[test]
    fn looked_at_every_second_and_when_it_may_be_taken() {
        let millis = Duration::from_millis;
        for (unchanged, took, expected) in [
            (0, 0, 1000),
            (5000, 100, 900),
            (12_700, 100, 300),
            // Looked at in vain: not again and again.
            (13_000, 0, 1000),
            (20_000, 100, 900),
            (5000, 3000, 0),
        ] {
            let pause = pause(millis(unchanged), millis(took));
            assert_eq!(pause, millis(expected), "{unchanged} {took}");
        }
    }

    /// By the looks alone; the rest is for requests.
    #[test]
    fn taken_within_the_duration() {
        assert!(LOOK + TAKEOVER < DURATION);
    }

    #[test]
    fn the_holder_ends_before_another_takes_over() {
        assert!(DEADLINE + RETRY < TAKEOVER);
        assert!(DEADLINE + UNACKNOWLEDGED < TAKEOVER);
    }

    /// Of two processes by one name, should there ever be, the other waits while no renewal is late.
    #[test]
    fn a_holder_renews_before_one_of_its_name_takes_over() {
        assert!(RETRY < UNACKNOWLEDGED);
    }

    #[test]
    fn an_orderly_end_is_half_a_duration_at_most() {
        assert!(FINISH + UNACKNOWLEDGED + LOOK < DURATION / 2);
    }
}
