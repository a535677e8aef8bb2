//! Numbers of pods as a workload's strategy says them.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A number of pods, or a share of all: Kubernetes rounds what may be added up, and what may be missing mostly down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many, however many there are.
    Pods(i64),
    /// A share, rounded up or down.
    Percent {
        /// Of a hundred.
        share: i64,
        /// Whether a part of a pod is a whole one.
        up: bool,
    },
}

impl Amount {
    pub(super) fn new(value: &IntOrString, up: bool) -> Self {
        match value {
            IntOrString::Int(number) => Self::Pods(i64::from(*number)),
            IntOrString::String(text) => Self::Percent {
                share: text.trim_end_matches('%').parse().unwrap_or(0),
                up,
            },
        }
    }

    /// What a Deployment has where nothing is said.
    pub(super) fn quarter() -> IntOrString {
        IntOrString::String("25%".into())
    }

    /// How many that are of so many.
    pub fn of(self, pods: i64) -> i64 {
        match self {
            Self::Pods(number) => number,
            Self::Percent { share, up } => {
                let hundredths = pods.saturating_mul(share);
                hundredths.saturating_add(if up { 99 } else { 0 }) / 100
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded() {
        let of = |text: &str, up, pods| Amount::new(&IntOrString::String(text.into()), up).of(pods);
        for (text, up, pods, expected) in [
            ("25%", true, 10, 3),
            ("25%", false, 10, 2),
            ("25%", true, 1, 1),
            ("25%", false, 3, 0),
            ("100%", false, 3, 3),
            ("x", true, 3, 0),
        ] {
            assert_eq!(of(text, up, pods), expected, "{text} {up} {pods}");
        }
        assert_eq!(Amount::new(&IntOrString::Int(2), true).of(0), 2);
    }
}
