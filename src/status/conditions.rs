//! Statements → conditions, with the times of transitions kept.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::ConditionType;
use crate::api::conditions::{MAX_MESSAGE, Statement, plain};

/// In the order given; what has no statement is left out. The time moves only when the state does.
pub(super) fn merge(
    before: &[Condition],
    statements: impl IntoIterator<Item = (ConditionType, Option<Statement>)>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    statements
        .into_iter()
        .filter_map(|(kind, statement)| {
            let statement = statement?;
            let state = statement.state.as_str();
            let since = before
                .iter()
                .find(|condition| condition.type_ == kind.as_str() && condition.status == state)
                .map_or(Time(now), |condition| {
                    condition.last_transition_time.clone()
                });
            Some(Condition {
                type_: kind.as_str().into(),
                status: state.into(),
                reason: statement.reason.as_str().into(),
                message: plain(&statement.message)
                    .chars()
                    .take(MAX_MESSAGE)
                    .collect(),
                last_transition_time: since,
                observed_generation: generation,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    #[test]
    fn what_others_wrote_commands_nobody() {
        let theirs = "is 30s\nERROR: forged\r\u{1b}[2J\u{202e}, größer als 1 µs";
        let say = Statement::no(Reason::FieldConflict, theirs);
        let said = merge(
            &[],
            [(ConditionType::Ready, Some(say))],
            None,
            Timestamp::UNIX_EPOCH,
        );
        let shown = r"is 30s\nERROR: forged\r\u{1b}[2J\u{202e}, größer als 1 µs";
        assert_eq!(said[0].message, shown);
    }

    #[test]
    fn time_moves_only_with_the_state() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let say = |statement| [(ConditionType::Ready, Some(statement))];
        let first = merge(
            &[],
            say(Statement::no(Reason::Forbidden, "a")),
            Some(1),
            at(1),
        );
        let second = merge(
            &first,
            say(Statement::no(Reason::Rejected, "b")),
            Some(2),
            at(2),
        );
        assert_eq!(second[0].last_transition_time, Time(at(1)));
        assert_eq!(second[0].reason, "Rejected");
        let third = merge(
            &second,
            say(Statement::yes(Reason::AllReady, "")),
            Some(2),
            at(3),
        );
        assert_eq!(third[0].last_transition_time, Time(at(3)));
        assert!(merge(&third, [(ConditionType::Ready, None)], Some(2), at(4)).is_empty());
    }
}
