use super::*;
use std::collections::BTreeSet;

#[test]
fn the_catalogue_can_be_read() {
    let read: Catalogue = serde_yaml_ng::from_str(FAMILIES).unwrap();
    assert_eq!(&read, catalogue());
    assert!(read.families.len() >= 13, "{}", read.families.len());
    assert_eq!(MeterId::all().count(), read.families.len());
}

#[test]
fn names_are_unique_and_long_enough_for_the_filter() {
    let names = names();
    let mut seen = BTreeSet::new();
    for slot in names.slots() {
        assert!(seen.insert(slot.name), "{} is there twice", slot.name);
        assert!(slot.name.len() >= names::BEGINNING, "{}", slot.name);
        assert!(names.may_begin(slot.name.as_bytes()), "{}", slot.name);
        assert!(names.slots().len() <= 128, "a page has a bit for each");
    }
    let families: BTreeSet<&str> = catalogue()
        .families
        .iter()
        .map(|meter| meter.name.as_str())
        .collect();
    assert_eq!(families.len(), catalogue().families.len());
}

#[test]
fn every_family_says_all_that_is_needed() {
    for meter in &catalogue().families {
        let name = &meter.name;
        assert!(
            name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{name}"
        );
        assert!(
            !(meter.started.is_empty() && meter.handled.is_empty()),
            "{name}"
        );
        let by_service = meter.labels.service.is_some() || meter.labels.method.is_some();
        assert!(
            by_service || meter.place == Place::Sidecar,
            "{name}: health checks could not be left out"
        );
        let conditions = meter
            .only
            .iter()
            .chain(&meter.unless)
            .chain(&meter.labels.streams);
        for condition in conditions {
            let given = [&condition.is, &condition.starts, &condition.ends];
            assert_eq!(
                given.into_iter().flatten().count(),
                1,
                "{name}: {condition:?}"
            );
            assert!(!condition.label.contains('.'), "{name}: {condition:?}");
        }
    }
    for counted in &catalogue().connections {
        assert_ne!(
            counted.created.is_empty(),
            counted.ended.is_empty(),
            "{}",
            counted.name
        );
    }
}

#[test]
fn a_server_s_own_metrics_go_before_a_sidecar_s_and_rpcs_before_messages() {
    let place = |meter: &Meter| meter.place == Place::Sidecar;
    assert!(catalogue().families.is_sorted_by_key(place));
    let before = |a: &str, b: &str| MeterId::named(a).unwrap() < MeterId::named(b).unwrap();
    assert!(before("Micrometer", "MicrometerMessages"));
    assert!(before("AspNetCore", "MicrometerMessages"));
}

#[test]
fn what_a_page_declares_is_found_without_its_suffix() {
    let declared = |name: &str| {
        let found = names().declared(name.as_bytes());
        found
            .map(|slot| names().slots()[slot].name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        declared("grpc_server_started"),
        ["grpc_server_started_total"]
    );
    assert_eq!(
        declared("grpc_server_started_total"),
        ["grpc_server_started_total"]
    );
    assert_eq!(
        declared("grpc_server_handling_seconds"),
        ["grpc_server_handling_seconds_count"]
    );
    assert_eq!(
        declared("grpc.server.call.started"),
        ["grpc.server.call.started_total", "grpc.server.call.started"]
    );
    assert!(declared("go_goroutines").is_empty());
}

#[test]
fn the_page_names_everything() {
    let page = markdown();
    for slot in names().slots() {
        assert!(page.contains(&format!("`{}`", slot.name)), "{}", slot.name);
    }
    for meter in &catalogue().families {
        assert!(page.contains(&format!("| `{}` |", meter.name)));
    }
}
