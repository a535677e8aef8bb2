use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::*;
use crate::findings::CATALOGUE;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn report(path: &Path) -> Report {
    let name = path.display().to_string();
    let objects = read::all(&[name], "default", &Limits::default());
    let backends = manifests::backends(&objects);
    Report::new(&objects, &backends)
}

/// Ids, without fault: every file of the corpus can be read.
fn ids(path: &Path) -> BTreeSet<String> {
    let report = report(path);
    let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    report
        .findings()
        .map(|found| found.rule.id.to_owned())
        .collect()
}

/// Every set says exactly what it must be told: all else it must not.
#[test]
fn the_corpus_is_told_what_it_expects() {
    let mut sets = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        sets += 1;
        let text = fs::read_to_string(&path).unwrap();
        let expect = text
            .lines()
            .find_map(|line| line.strip_prefix("# expect: "));
        let expect =
            expect.unwrap_or_else(|| panic!("{} has no line '# expect: '", path.display()));
        let expect: BTreeSet<String> = expect
            .split(' ')
            .filter(|id| *id != "none")
            .map(str::to_owned)
            .collect();
        let found = ids(&path);
        if found != expect {
            wrong.push(format!(
                "{}: {found:?} instead of {expect:?}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(sets >= 60, "only {sets} sets");
}

/// Whose manifests they follow, of which version, and why each finding is none too many.
#[test]
fn what_is_told_of_others_is_argued() {
    let mut sets = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("adopt-") {
            continue;
        }
        sets += 1;
        let text = fs::read_to_string(&path).unwrap();
        let (comments, _) = text.split_once("# expect: ").unwrap();
        let has_version = comments.lines().any(|line| {
            let mut words = line.split([' ', ',', ':', '(', ')']);
            let is_version = |word: &str| {
                let number = word.trim_start_matches('v');
                number.starts_with(|c: char| c.is_ascii_digit())
                    && (number != word || number.contains('.'))
            };
            words.any(is_version)
        });
        assert!(has_version, "{name}: {comments}");
        for id in ids(&path) {
            assert!(comments.contains(&id), "{name}: {id}: {comments}");
        }
    }
    assert!(sets >= 20, "only {sets}");
}

/// The example shows the fault and little else; mended, it has no fault at all.
#[test]
fn every_rule_has_an_example() {
    for rule in CATALOGUE {
        let path = |ending: &str| corpus().join(format!("rules/{}{ending}", rule.id));
        if rule.is_measured() {
            assert!(
                !path(".yaml").exists(),
                "{} cannot be seen in files",
                rule.id
            );
            continue;
        }
        let shown = ids(&path(".yaml"));
        assert!(shown.contains(rule.id), "{}: {shown:?}", rule.id);
        let mended = ids(&path(".mended.yaml"));
        assert!(!mended.contains(rule.id), "{}: {mended:?}", rule.id);
        assert!(mended.is_subset(&shown), "{}: {mended:?}", rule.id);
    }
}

#[test]
fn a_finding_names_the_line_that_it_speaks_of() {
    let path = corpus().join("rules/GB003.yaml");
    let report = report(&path);
    let found = report
        .findings()
        .find(|found| found.rule.id == "GB003")
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().nth(found.line - 1).unwrap();
    assert!(line.contains("port: 80, targetPort: 8081"), "{line}");
    assert_eq!(found.object, "Service rng-headless");
    let shown = text::people(&report);
    assert!(
        shown.contains(&format!("GB003.yaml:{}: error GB003: ", found.line)),
        "{shown}"
    );
    assert!(shown.contains("1 backend: 1 error, 0 warnings"), "{shown}");
    assert!(
        shown.contains("for want of the pods' metrics: GB023, GB025, GB034, GB043"),
        "{shown}"
    );
}

#[test]
fn programs_read_the_same() {
    let path = corpus().join("rules/GB003.yaml");
    let report = report(&path);
    let json = serde_json::to_value(&report).unwrap();
    let found = &json["backends"][0]["findings"][0];
    assert_eq!(found["id"], "GB003");
    assert_eq!(found["severity"], "Error");
    let page = found["page"].as_str().unwrap();
    assert!(page.ends_with("docs/findings/GB003.md"));
    let log = sarif::log(&report);
    let driver = &log["runs"][0]["tool"]["driver"];
    assert_eq!(driver["informationUri"], env!("CARGO_PKG_REPOSITORY"));
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "GB003");
    assert_eq!(result["level"], "error");
    let region = &result["locations"][0]["physicalLocation"]["region"];
    assert_eq!(region["startLine"], found["line"]);
    let line = text::github(&report);
    assert!(line.starts_with("::error file="), "{line}");
    assert!(
        line.contains("title=GB003%3A ") && line.ends_with('\n'),
        "{line}"
    );
}

/// What --fix prints is a GrpcBackend that the check reads again, and with which less is told.
#[test]
fn a_fix_is_read_again() {
    for set in [
        "first-day",
        "autoscaled",
        "thanos-query-three",
        "canary",
        "two-ports",
    ] {
        let path = corpus().join(format!("{set}.yaml"));
        let objects = read::all(&[path.display().to_string()], "default", &Limits::default());
        let fixed: Vec<String> = manifests::backends(&objects)
            .iter()
            .map(|own| manifests::fix(own, false))
            .collect();
        let directory =
            std::env::temp_dir().join(format!("evenkeel-fix-{}-{set}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::copy(&path, directory.join("set.yaml")).unwrap();
        fs::write(directory.join("fix.yaml"), fixed.join("---\n")).unwrap();
        let (before, after) = (ids(&path), ids(&directory));
        fs::remove_dir_all(&directory).unwrap();
        assert!(!after.contains("GB001"), "{set}: {after:?}");
        assert!(after.is_subset(&before), "{set}: {before:?} {after:?}");
    }
}

#[test]
fn a_known_image_is_fixed_with_its_preset() {
    let path = corpus().join("thanos-query-three.yaml");
    let objects = read::all(&[path.display().to_string()], "default", &Limits::default());
    let fixed = manifests::fix(&manifests::backends(&objects)[0], false);
    assert!(fixed.contains("preset: Thanos"), "{fixed}");
}

#[test]
fn an_exit_status_for_each_threshold() {
    for (rule, fail_on, fails) in [
        ("GB003", FailOn::Error, true),
        ("GB003", FailOn::Never, false),
        ("GB007", FailOn::Error, false),
        ("GB007", FailOn::Warning, true),
        ("GB033", FailOn::Warning, false),
        ("GB033", FailOn::Info, true),
    ] {
        let mut report = report(&corpus().join(format!("rules/{rule}.yaml")));
        let word = fail_on.to_possible_value().unwrap();
        let asked = Asked::parse_from(["check", "--fail-on", word.get_name(), "-"]).check;
        assert_eq!(
            asked.status(&report),
            ExitCode::from(u8::from(fails)),
            "{rule}"
        );
        // What cannot be read is worse.
        report.faults.push(report::Unread {
            file: "a.yaml".into(),
            line: 1,
            message: "is not YAML".into(),
        });
        assert_eq!(asked.status(&report), ExitCode::from(2), "{rule}");
    }
}

#[derive(clap::Parser)]
struct Asked {
    #[command(flatten)]
    check: Check,
}

#[test]
fn no_more_is_read_than_the_limits_say() {
    let small = Limits {
        file_bytes: 1 << 20,
        all_bytes: 1 << 20,
        ..Limits::default()
    };
    let directory = std::env::temp_dir().join(format!("evenkeel-limits-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    // As large as it says, and nearly nothing on the disk.
    let large = fs::File::create(directory.join("a.yaml")).unwrap();
    large.set_len(100 << 30).unwrap();
    fs::write(directory.join("b.yaml"), "a: b\n").unwrap();
    let read = read::all(&[directory.display().to_string()], "default", &small);
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(read.faults.len(), 2, "{:?}", read.faults);
    assert!(
        read.faults[0].message.contains("more than 1 MiB"),
        "{:?}",
        read.faults
    );
    assert!(read.faults[0].file.ends_with("a.yaml"));
    assert!(
        read.faults[1].message.contains("all files together"),
        "{:?}",
        read.faults
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let missing = read::all(&["/nowhere/a.yaml".into()], "default", &Limits::default());
    assert!(missing.faults[0].message.contains("cannot be read"));
    let address = "https://example.com/a.yaml";
    let far = read::all(&[address.into()], "default", &Limits::default());
    let told = "is not on this machine: curl -fsSL 'https://example.com/a.yaml' | evenkeel check -";
    assert_eq!(
        (far.faults[0].file.as_str(), far.faults[0].message.as_str()),
        (address, told)
    );
    let directory = std::env::temp_dir().join(format!("evenkeel-wrong-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let text = "a: 1\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: many}]}\n";
    fs::write(directory.join("a.yaml"), text).unwrap();
    let read = read::all(
        &[directory.display().to_string()],
        "default",
        &Limits::default(),
    );
    fs::remove_dir_all(&directory).unwrap();
    let fault = &read.faults[0];
    assert_eq!(fault.line, 3);
    assert!(
        fault.message.starts_with("Service a is not one"),
        "{}",
        fault.message
    );
}

/// What a manifest says must not steer the terminal, nor add an annotation.
#[test]
fn output_is_of_one_piece() {
    let directory = std::env::temp_dir().join(format!("evenkeel-steer-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let set = fs::read_to_string(corpus().join("rules/GB003.yaml")).unwrap();
    let set = set
        .replace("name: rng-headless", "name: \"rng-headless\"")
        .replace("name: server", "name: \"s\\e[2J\\n::error::x\"");
    fs::write(
        directory.join("a.yaml"),
        set.replace("readinessProbe", "other"),
    )
    .unwrap();
    let report = report(&directory);
    fs::remove_dir_all(&directory).unwrap();
    assert!(!text::people(&report).contains('\u{1b}'));
    let lines = text::github(&report);
    assert!(
        lines.lines().all(|line| !line.starts_with("::error::x")),
        "{lines}"
    );
    assert!(lines.contains("%0A::error::x"), "{lines}");
}

/// The same objects without files: what a cluster lists has no lines, and there are no metrics.
#[test]
fn what_runs_is_named_by_object_and_field() {
    let path = corpus().join("rules/GB003.yaml");
    let written = fs::read(&path).unwrap();
    let mut objects = Objects::of_cluster();
    objects.unlisted.push(manifests::Unlisted {
        kind: "HorizontalPodAutoscaler".into(),
        why: "you may not list horizontalpodautoscalers in namespace shop".into(),
    });
    manifests::read(&written, &Limits::default(), |node| {
        let value = node.value();
        objects.add(&"".into(), manifests::Node::of(&value), "");
        Ok(())
    })
    .unwrap();
    let report = Report::new(&objects, &manifests::backends(&objects));
    let shown = text::people(&report);
    for expected in [
        "  Service rng-headless spec.ports[0].port: error GB003: ",
        "for want of HorizontalPodAutoscalers: GB071",
        "for want of the pods' metrics: GB023, GB025, GB034, GB043",
        "HorizontalPodAutoscaler not listed, so not looked at: you may not list",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let json = serde_json::to_value(&report).unwrap();
    let found = &json["backends"][0]["findings"][0];
    assert_eq!(found["object"], "Service rng-headless");
    assert_eq!(found["field"], "spec.ports[0].port");
    assert!(
        found["file"].is_null() && found["line"].is_null(),
        "{found}"
    );
    let log = sarif::log(&report);
    let place = &log["runs"][0]["results"][0]["locations"][0];
    assert!(place["physicalLocation"].is_null(), "{place}");
    let line = text::github(&report);
    assert!(line.starts_with("::error title=GB003%3A "), "{line}");
}

/// What was not looked at is said to everybody; an annotation has a place only where there is one.
#[test]
fn annotations_say_what_was_not_looked_at() {
    let mut report = report(&corpus().join("rules/GB003.yaml"));
    let file = "a.yaml".to_owned();
    let fault = |file: &str, line| report::Unread {
        file: file.to_owned(),
        line,
        message: "too many".into(),
    };
    report.faults = vec![fault("", 0), fault(&file, 0), fault(&file, 7)];
    report.unlisted.push(report::NotListed {
        kind: "Pod".into(),
        why: "you may not list pods".into(),
    });
    report.repeated.insert(manifests::Repeated {
        file,
        line: 3,
        object: "Service shop/a".into(),
        by: "b.yaml:1".into(),
    });
    let lines = text::github(&report);
    for line in [
        "::error::too many",
        "::error file=a.yaml::too many",
        "::error file=a.yaml,line=7::too many",
        "::warning file=a.yaml,line=3::a.yaml:3: Service shop/a stands again in b.yaml:1, which is the one that counts",
        "::warning::Pod not listed, so not looked at: you may not list pods",
        "::notice::not checked, for want of the cluster's DNS configuration: GB048; for want of the pods' metrics: GB023, GB025, GB034, GB043",
    ] {
        assert!(lines.lines().any(|own| own == line), "{line}\n{lines}");
    }
    let log = sarif::log(&report);
    let told = &log["runs"][0]["invocations"][0]["toolExecutionNotifications"];
    assert_eq!(told[0]["locations"], serde_json::json!([]), "{told}");
    assert_eq!(
        told[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "a.yaml"
    );
}

#[test]
fn sentences_are_wrapped_where_a_terminal_ends() {
    let shown = text::people(&report(&corpus().join("rules/GB003.yaml")));
    let sentence = "GB003.yaml:15: error GB003: a headless Service's port is not the pods' port\n      headless Service rng-headless has port 80";
    assert!(shown.contains(sentence), "{shown}");
    assert!(
        shown
            .lines()
            .skip(2)
            .all(|line| line.chars().count() <= 120),
        "{shown}"
    );
}

/// As somebody might send them on purpose: each ends in a sentence, and no more than the limit is ever held.
#[test]
fn hostile_files_end_in_a_clear_sentence() {
    let directory = std::env::temp_dir().join(format!("evenkeel-hostile-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).unwrap();
    write(
        "a-scalar.yaml",
        &[b"a: ", vec![b'x'; 100 << 20].as_slice()].concat(),
    );
    let mut bomb = String::from("a0: &a0 lol\n");
    for level in 1..=12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{below}]");
    }
    write("b-anchors.yaml", bomb.as_bytes());
    write("c-deep.yaml", "[".repeat(1 << 20).as_bytes());
    write("d-bytes.yaml", b"kind: Service\nname: \xff\xfe\n");
    write("e-null.yaml", b"kind: \0Service\n");
    let names = ["a-scalar", "b-anchors", "c-deep", "d-bytes", "e-null"];
    let names = names.map(|name| directory.join(format!("{name}.yaml")).display().to_string());
    let read = read::all(&names, "default", &Limits::default());
    fs::remove_dir_all(&directory).unwrap();
    let said: Vec<String> = read
        .faults
        .iter()
        .map(|fault| {
            format!(
                "{}:{} {}",
                fault.file.rsplit('/').next().unwrap(),
                fault.line,
                fault.message
            )
        })
        .collect();
    for (said, expected) in said.iter().zip([
        "a-scalar.yaml:0 has more than 16 MiB: split it",
        "b-anchors.yaml:7 has a document of more than 48 MiB with its aliases written out",
        "c-deep.yaml:1 is not YAML: recursion limit exceeded",
        "d-bytes.yaml:2 is not UTF-8 text: save it as UTF-8",
        "e-null.yaml:1 is not YAML: ",
    ]) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(said.len(), 5, "{said:?}");
}

#[test]
fn where_nothing_is_seen_it_says_what_would_be() {
    let shown = text::people(&report(&corpus().join("http-only.yaml")));
    assert!(shown.starts_with("No gRPC backend is seen. "), "{shown}");
    assert!(shown.contains("0 backends: 0 errors"), "{shown}");
}

#[test]
fn what_to_check_is_asked_for() {
    use clap::{Command, FromArgMatches as _};
    let parse = |arguments: &[&str]| {
        let command = Check::augment_args(Command::new("check"));
        let matches = command.try_get_matches_from([&["check"], arguments].concat());
        matches.map(|matches| Check::from_arg_matches(&matches).unwrap().cluster)
    };
    assert!(!parse(&["-f", "a.yaml", "-f", "b.yaml"]).unwrap());
    assert!(!parse(&["a.yaml", "b"]).unwrap() && !parse(&["a.yaml", "-f", "b"]).unwrap());
    assert!(!parse(&["a.yaml", "--ignore", "GB007,gb033"]).unwrap());
    assert!(parse(&["--cluster", "-A", "--fix"]).unwrap());
    for wrong in [
        &[][..],
        &["--cluster", "-f", "a"],
        &["--cluster", "a"],
        &["a", "--ignore", "GB999"],
        &["-f", "a", "-A"],
        &["--cluster", "-A", "-n", "a"],
        &["-f", "a", "--fix", "-o", "json"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    let told = parse(&[]).err().unwrap().to_string();
    assert!(told.contains("--cluster"), "{told}");
}
