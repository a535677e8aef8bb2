//! How requests are spread, as bars. Nothing but text in and text out.

use crate::view::{Pod, State};

/// Of the longest bar.
const WIDTH: usize = 32;
/// Of the column of names.
const NAME: usize = 22;

/// One line for each pod: its name, a bar, requests per second, its share, and what is to be said of it.
pub fn lines(pods: &[Pod]) -> Vec<String> {
    let total: f64 = pods.iter().map(|pod| pod.rate).sum();
    let longest = pods.iter().map(|pod| pod.rate).fold(1.0, f64::max);
    pods.iter().map(|pod| line(pod, total, longest)).collect()
}

fn line(pod: &Pod, total: f64, longest: f64) -> String {
    let share = if total > 0.0 {
        pod.rate / total * 100.0
    } else {
        0.0
    };
    let line = format!(
        "{:NAME$} {:WIDTH$} {:5.1}/s {share:3.0} %  {}",
        pod.name,
        bar(pod.rate / longest),
        pod.rate,
        note(pod)
    );
    line.trim_end().to_owned()
}

fn note(pod: &Pod) -> String {
    match (pod.state, pod.first_after) {
        (State::Starting, _) => "starting".into(),
        (State::Leaving, _) => "leaving".into(),
        (State::New, Some(seconds)) => format!("new: first request after {seconds:.0} s"),
        (State::New, None) => format!("new: no request for {:.0} s", pod.ready_for),
        (State::Ready, _) => String::new(),
    }
}

/// A bar of `part` (0 to 1) of the width, to an eighth of a cell.
fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a handful of cells"
    )]
    let eighths = (part.clamp(0.0, 1.0) * (WIDTH * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(rate: f64, state: State, first_after: Option<f64>) -> Pod {
        Pod {
            name: "echo-a".into(),
            state,
            rate,
            ready_for: 12.0,
            first_after,
        }
    }

    #[test]
    fn the_busiest_pod_has_the_longest_bar() {
        let lines = lines(&[
            pod(50.0, State::Ready, None),
            pod(25.0, State::Ready, None),
            pod(0.0, State::New, None),
        ]);
        assert_eq!(
            lines[0],
            format!("{:NAME$} {}  50.0/s  67 %", "echo-a", "█".repeat(WIDTH))
        );
        assert_eq!(lines[1].matches('█').count(), WIDTH / 2);
        assert!(!lines[2].contains('█') && lines[2].ends_with("0 %  new: no request for 12 s"));
    }

    #[test]
    fn no_traffic_is_no_bar() {
        let lines = lines(&[pod(0.0, State::New, Some(3.4))]);
        assert!(
            lines[0].ends_with("0.0/s   0 %  new: first request after 3 s"),
            "{lines:?}"
        );
    }
}
