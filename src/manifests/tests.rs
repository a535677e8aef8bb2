use std::fmt::Write as _;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SMALL: Limits = Limits {
    file_bytes: 1 << 20,
    all_bytes: 2 << 20,
    files: 10,
    documents: 5,
    depth: 64,
    weight: 1 << 20,
    all_weight: 2 << 20,
};

fn documents(text: &str) -> Result<Vec<Rc<Node>>, Unreadable> {
    documents_of(text.as_bytes())
}

fn documents_of(bytes: &[u8]) -> Result<Vec<Rc<Node>>, Unreadable> {
    let mut all = Vec::new();
    let told = read(bytes, &SMALL, |node| {
        all.push(node);
        Ok(())
    });
    told.map(|()| all)
}

fn values(text: &str) -> Vec<Value> {
    let all = documents(text).unwrap();
    all.iter().map(|node| node.value()).collect()
}

fn refusal(text: &str) -> Unreadable {
    documents(text).unwrap_err()
}

#[test]
fn documents_are_read_as_kubectl_reads_them() {
    assert_eq!(
        values("a: 1\n---\n# nothing\n---\nb: [x, {c: 'on'}]\nd: on\n"),
        [
            json!({"a": 1}),
            json!(null),
            json!({"b": ["x", {"c": "on"}], "d": true})
        ]
    );
    assert_eq!(
        values("\u{feff}{\n\t\"a\": \"é\",\n\t\"b\": [1.5, null]\n}\n"),
        [json!({"a": "é", "b": [1.5, null]})]
    );
    assert_eq!(
        values("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n"),
        [json!({"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}})]
    );
    assert_eq!(values("a: 1\na: 2\n"), [json!({"a": 2})]);
    assert_eq!(
        values("a: !!str 8080\n8: x\n"),
        [json!({"a": "8080", "8": "x"})]
    );
    assert_eq!(values("a: |\n  one\n  two\n"), [json!({"a": "one\ntwo\n"})]);
    assert_eq!(values("a: 1\r\nb: 2\r\n"), [json!({"a": 1, "b": 2})]);
}

#[test]
fn a_line_is_that_of_the_field_or_of_what_is_there_of_it() {
    let text =
        "spec:\n  ports:\n    - name: a\n      port: 1\n    - name: b\n      port: 2\n  other: x\n";
    let node = &documents(text).unwrap()[0];
    for (path, line) in [
        ("", 1),
        ("spec", 1),
        ("spec.ports", 2),
        ("spec.ports[1]", 5),
        ("spec.ports[1].port", 6),
        ("spec.ports[1].targetPort", 5),
        ("spec.ports[7]", 2),
        ("spec.other.deeper", 7),
        ("metadata", 1),
    ] {
        assert_eq!(node.line_of(path), line, "{path}");
    }
}

/// Each level names the one below it ten times: 10^9 values in 200 bytes.
#[test]
fn an_anchor_bomb_is_refused() {
    let mut bomb = String::from("a0: &a0 lol\n");
    for level in 1..=9 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{below}]");
    }
    let told = refusal(&bomb);
    assert!(told.why.contains("aliases written out"), "{told}");
    assert!(told.line > 1, "{told:?}");
}

#[test]
fn aliases_do_not_make_a_document_deep() {
    let mut deep = String::from("a0: &a0 [x]\n");
    for level in 1..=70 {
        let _ = writeln!(deep, "a{level}: &a{level} [*a{}]", level - 1);
    }
    let told = refusal(&deep);
    assert!(told.why.contains("more than 64 deep"), "{told}");
    let told = refusal("a: &a [*a]\n");
    assert!(!told.why.is_empty(), "{told}");
}

#[test]
fn depth_is_bounded_on_both_sides_of_the_border() {
    let nested = |levels: usize| format!("{}{}\n", "[".repeat(levels), "]".repeat(levels));
    assert!(documents(&nested(64)).is_ok());
    assert!(refusal(&nested(65)).why.contains("more than 64 deep"));
    let mut block = String::new();
    for level in 0..300 {
        let _ = writeln!(block, "{}a:", " ".repeat(level));
    }
    assert!(!refusal(&block).why.is_empty());
    assert!(!refusal(&"[".repeat(100_000)).why.is_empty());
}

#[test]
fn bytes_and_documents_are_bounded() {
    assert!(
        refusal(&"a".repeat((1 << 20) + 1))
            .why
            .contains("more than 1 MiB")
    );
    assert!(documents(&"a: 1\n---\n".repeat(4)).is_ok());
    assert!(
        refusal(&"a: 1\n---\n".repeat(6))
            .why
            .contains("more than 5 documents")
    );
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let told = documents_of(b"a: 1\nb: \xff\n").unwrap_err();
    assert_eq!((told.line, told.why.contains("UTF-8")), (2, true));
}

#[test]
fn a_template_is_told_from_a_manifest() {
    let told = refusal("kind: Service\n{{- if .Values.x }}\na: b: c\n{{- end }}\n");
    assert!(told.why.contains("helm template"), "{told}");
    assert!(!refusal("a: b: c\n").why.contains("helm"));
    for text in [
        "a: {{ .Values.a }}\n",
        "a: 1\n{{ .Values.b }}: 2\n",
        "{{- if .a }}\na: 1\n{{- end }}\n",
    ] {
        assert!(refusal(text).why.contains("helm template"), "{text}");
    }
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: '{{ .Values.n }}'}\n";
    let mut objects = Objects::default();
    objects.add(
        &"f".into(),
        Rc::clone(&documents(text).unwrap()[0]),
        "default",
    );
    assert!(
        objects.faults[0].message.contains("helm template"),
        "{:?}",
        objects.faults
    );
    assert!(refusal("{a: 1}: b\n").why.contains("as a key"));
}

#[test]
fn what_is_no_object_is_said_in_the_words_of_yaml() {
    let backend = |spec: &str| {
        let text = format!(
            "apiVersion: evenkeel.dev/v1alpha1\nkind: GrpcBackend\nmetadata: {{name: a}}\nspec: {spec}\n"
        );
        let mut objects = Objects::default();
        let node = Rc::clone(&documents(&text).unwrap()[0]);
        objects.add(&"f".into(), node, "default");
        let told = objects.faults.last().unwrap().message.clone();
        let (_, why) = told.split_once("would take (").unwrap();
        why.split_once("): mend that first").unwrap().0.to_owned()
    };
    for (spec, why) in [
        ("{ports: [{port: 80}]}", "selector is missing"),
        (
            "{selector: {app: a}, ports: [{port: web}]}",
            "the text \"web\" stands where a whole number belongs",
        ),
        (
            "{selector: {app: a}, ports: [{port: 80, name: 5}]}",
            "the number 5 stands where a text belongs",
        ),
        (
            "{selector: {app: a}, ports: {port: 80}}",
            "a map stands where a list belongs",
        ),
        (
            "{selector: {app: a}, ports: [{port: 80}], suspend: 'no'}",
            "the text \"no\" stands where true or false belongs",
        ),
        (
            "{selector: {app: a}, ports: [{port: 80}], balance: {mode: Maybe}}",
            "Maybe stands where there may be Judge, Observe, Disabled",
        ),
    ] {
        assert_eq!(backend(spec), why, "{spec}");
    }
}

/// A misspelt field is dropped or refused by the API server, and silences nothing here.
#[test]
fn a_backend_that_would_be_refused_is_a_fault_at_its_line() {
    let text = "apiVersion: evenkeel.dev/v1alpha1\nkind: GrpcBackend\nmetadata: {name: w, labels: {a: b}}\nspec:\n  selector: {app: w}\n  \
        ports: [{port: 80, targetport: 8080}]\n  conectionAge: {maxAge: 5m}\n  connectionAge:\n    maxAge: banana\n    knob: {preset: Nope}\n  \
        ignoreFindings:\n    - {id: GB021, reason: known}\n    - {id: GB0211, reason: known}\nspecs: {}\n";
    let mut objects = Objects::default();
    let node = Rc::clone(&documents(text).unwrap()[0]);
    objects.add(&"f".into(), node, "default");
    let faults = objects.faults.iter();
    let mut said: Vec<_> = faults.map(|own| (own.line, own.message.as_str())).collect();
    said.sort_unstable();
    let expected = [
        (
            6,
            "GrpcBackend w: spec.ports[0].targetport is no field of it",
        ),
        (7, "GrpcBackend w: spec.conectionAge is no field of it"),
        (
            9,
            "GrpcBackend w: spec.connectionAge.maxAge is banana: a duration from 1s to 24h, such as",
        ),
        (
            10,
            "GrpcBackend w: spec.connectionAge.knob.preset is Nope, which nobody knows",
        ),
        (
            13,
            "GrpcBackend w: spec.ignoreFindings[1].id is GB0211, which is no finding's",
        ),
        (14, "GrpcBackend w: specs is no field of it"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for ((line, told), (at, start)) in said.into_iter().zip(expected) {
        assert_eq!(line, at, "{told}");
        assert!(told.starts_with(start), "{told}");
    }
}

/// In a time that a person waits for, though nothing is reused between the maps.
#[test]
fn merges_are_as_fast_as_they_are_long() {
    let mut text = String::from("a: &a\n");
    for key in 0..1_000 {
        let _ = writeln!(text, "  k{key}: 1");
    }
    text += "b:\n  <<: [*a, *a, *a]\n";
    let node = &documents(&text).unwrap()[0];
    assert_eq!(node.value()["b"].as_object().unwrap().len(), 1_000);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = documents_of(&bytes);
    }

    /// What has the characters of YAML goes further into the reader than what has not.
    #[test]
    fn no_text_makes_it_panic(text in "[-a-c:&*!?|>'\"%@{}\\[\\], \n\t#0-9<.]{0,200}") {
        if let Ok(all) = documents(&text) {
            let file: Rc<str> = "f".into();
            let mut objects = Objects::default();
            for node in all {
                objects.add(&file, node, "default");
            }
        }
    }

    /// JSON is YAML, and what is written is read.
    #[test]
    fn json_is_read_as_it_is_written(
        map in proptest::collection::btree_map("[a-zA-Z./-]{1,20}", "[ -~]{0,40}", 0..10),
        number in any::<i64>(),
    ) {
        let value = json!({"map": map, "list": [number, true, null, 1.5]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(values(&text), vec![value.clone()]);
        }
        let yaml = serde_yaml_ng::to_string(&json!({"list": [number]})).unwrap();
        prop_assert_eq!(values(&yaml), vec![json!({"list": [number]})]);
    }
}

/// A world of objects in one namespace, each written as one line of JSON.
fn objects(all: impl IntoIterator<Item = Value>) -> Objects {
    let lines: Vec<String> = all.into_iter().map(|own| own.to_string()).collect();
    let text = lines.join("\n---\n");
    let mut objects = Objects::default();
    read(text.as_bytes(), &Limits::default(), |node| {
        objects.add(&"f".into(), node, "shop");
        Ok(())
    })
    .unwrap();
    assert_eq!(objects.faults, []);
    objects
}

fn grpc_backend(name: &str, app: &str) -> Value {
    json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"name": "grpc", "port": 8080}]}})
}

fn server(name: &str, app: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": app}}, "template": {"metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "server", "ports": [{"name": "grpc", "containerPort": 8080}]}]}}}})
}

/// What is listed from a cluster counts as much as what is read from a file.
#[test]
fn an_object_weighs_the_same_wherever_it_is_from() {
    let all = objects([server("s", "a")]);
    let node = &all.workloads[0].source.node;
    assert!(node.weight > 1_000);
    assert_eq!(Node::of(&node.value()).weight, node.weight);
}

/// What each of many selects is there for each: that has an end, and which are left out is known.
#[test]
fn what_all_select_is_bounded() {
    let many = 100;
    let backends = (0..many).map(|at| grpc_backend(&format!("b{at:03}"), "a"));
    let servers = (0..many).map(|at| server(&format!("s{at}"), "a"));
    let all = objects(backends.chain(servers));
    let weight: usize = all.workloads.iter().map(|own| own.source.node.weight).sum();
    let left_out = |most: usize| {
        let found = group::within(&all, most);
        assert_eq!(found.len(), many);
        let held = found.iter().filter(|own| !own.is_left_out);
        assert!(held.clone().all(|own| own.observed.workloads.len() == many));
        many - held.count()
    };
    assert_eq!(left_out(weight * many), 0);
    assert_eq!(left_out(weight * many - 1), 1);
    assert_eq!(left_out(weight * 10), many - 10);
    // A selector that nothing carries is told beside all that is there.
    let lost = objects([grpc_backend("b", "x"), server("s", "a")]);
    assert!(group::within(&lost, 0)[0].is_left_out);
    assert!(!group::within(&lost, 64)[0].is_left_out);
}

/// Only the operator asks for the others of a namespace, and what is said of that is there once.
#[test]
fn what_all_share_is_there_once() {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "annotations": {"a": "x".repeat(8 << 20)}}});
    let backends = (0..2_000).map(|at| grpc_backend(&format!("b{at}"), &format!("a{at}")));
    let all = objects(std::iter::once(namespace).chain(backends));
    let found = group::backends(&all);
    let shared = &all.namespaces[0].object;
    for own in &found {
        let metadata = own.observed.namespace_metadata.known().unwrap();
        assert!(std::sync::Arc::ptr_eq(metadata, shared));
        assert!(own.observed.siblings.is_empty());
    }
    assert_eq!(found.len(), 2_000);
}

/// One that names too many clients is refused, and costs no more than one that names as many as it may.
#[test]
fn clients_that_watch_are_bounded() {
    let mut backend = grpc_backend("b", "a");
    let clients: Vec<Value> = (0..1_000)
        .map(|at| json!({"serviceAccount": format!("c{at}")}))
        .collect();
    backend["spec"]["endpointWatch"] = json!({"clients": clients});
    let mut all = Objects::default();
    all.add(&"f".into(), Node::of(&backend), "shop");
    assert_eq!(group::backends(&all)[0].observed.watching.len(), 64);
}

/// Words that are texts in YAML 1.2 only, among others.
fn labels() -> impl Strategy<Value = String> {
    const OTHERWISE: [&str; 12] = [
        "no",
        "on",
        "Off",
        "y",
        "null",
        "1_000",
        "0x1f",
        "010",
        "1e3",
        "1.5",
        ".inf",
        "2026-01-01",
    ];
    let words = prop::sample::select(OTHERWISE.as_slice());
    prop_oneof![words.prop_map(str::to_owned), "[A-Za-z0-9_.~-]{0,8}"]
}

proptest! {
    /// kubectl reads what is printed as it was meant.
    #[test]
    fn a_fix_says_what_it_means(value in labels(), other in "\\PC{0,8}", reason in any::<String>()) {
        let mut backend = grpc_backend("b", &value);
        backend["spec"]["selector"][&value] = json!(other);
        backend["spec"]["ignoreFindings"] = json!([{"id": "GB021", "reason": reason}]);
        let mut all = Objects::default();
        all.add(&"f".into(), Node::of(&backend), "shop");
        let text = fix(&group::backends(&all)[0], false);
        let mut read_again = Vec::new();
        read(text.as_bytes(), &Limits::default(), |node| {
            read_again.push(node.value());
            Ok(())
        }).unwrap();
        prop_assert_eq!(read_again.len(), 1, "{}", text);
        prop_assert_eq!(&read_again[0]["spec"], &backend["spec"], "{}", text);
    }
}

/// What names say stays within the comment.
#[test]
fn no_name_leaves_its_comment() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a\nevil: x\u{2028}evil: y"},
        "spec": {"selector": {"app": "a"}, "ports": [{"name": "grpc", "port": 8080}]}});
    let mut all = Objects::default();
    all.add(&"f".into(), Node::of(&service), "shop");
    all.add(&"f".into(), Node::of(&server("s", "a")), "shop");
    let text = fix(&group::backends(&all)[0], false);
    assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    assert!(!text.lines().next().unwrap().contains('\u{2028}'), "{text}");
}
