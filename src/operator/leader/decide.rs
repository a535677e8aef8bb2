//! What to do about the Lease, from what it says and how long it has said so.

use std::time::Duration;

/// How long a lease holds after its last renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed.
pub const RETRY: Duration = Duration::from_secs(3);
/// How often one that is held by another is looked at: this is what a takeover may come later than it could.
pub const LOOK: Duration = Duration::from_secs(1);
/// A holder that could not renew for this long writes nothing more and ends, well before anybody else may take the lease.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// There is none: create it.
    Create,
    /// It is free, or its holder is gone: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Another holds it.
    Wait,
}

/// Who holds the Lease.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// It does not exist.
    NoLease,
    /// It was given up.
    Nobody,
    /// This process or another.
    Is(&'a str),
}

/// `unchanged` is how long this process has seen the lease as it is, by its own clock: the clocks of two machines are
/// never compared.
pub fn decide(holder: &Holder<'_>, me: &str, unchanged: Duration) -> Decision {
    match holder {
        Holder::NoLease => Decision::Create,
        Holder::Is(holder) if *holder == me => Decision::Renew,
        Holder::Nobody => Decision::Take,
        Holder::Is(_) if unchanged >= DURATION => Decision::Take,
        Holder::Is(_) => Decision::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_only_when_free_or_expired() {
        let now = Duration::ZERO;
        assert_eq!(decide(&Holder::NoLease, "a", now), Decision::Create);
        assert_eq!(decide(&Holder::Is("a"), "a", now), Decision::Renew);
        assert_eq!(decide(&Holder::Nobody, "a", now), Decision::Take);
        assert_eq!(decide(&Holder::Is("b"), "a", now), Decision::Wait);
        assert_eq!(
            decide(&Holder::Is("b"), "a", DURATION.saturating_sub(RETRY)),
            Decision::Wait
        );
        assert_eq!(decide(&Holder::Is("b"), "a", DURATION), Decision::Take);
    }

    #[test]
    fn the_holder_ends_before_another_takes_over() {
        assert!(DEADLINE + RETRY < DURATION);
    }
}
