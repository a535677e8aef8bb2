//! What the workflow of a release pushes and uploads is what people are told to pull and to download.

use std::fs;

use serde_json::{Value, json};

use crate::{document, path, text};

const WORKFLOW: &str = ".github/workflows/release.yaml";
const TESTS: &str = ".github/workflows/ci.yaml";

/// All that a job of it runs.
fn script(job: &str) -> String {
    runs(&document(WORKFLOW)["jobs"][job])
}

fn runs(job: &Value) -> String {
    let steps = job["steps"].as_array().unwrap();
    let runs = steps.iter().filter_map(|step| step["run"].as_str());
    runs.collect::<Vec<_>>().join("\n").replace("\\\n", " ")
}

/// The project's place on GitHub, as `owner/name`.
fn repository() -> String {
    let plugin = document("config/krew/evenkeel.yaml");
    let homepage = plugin["spec"]["homepage"].as_str().unwrap();
    homepage.strip_prefix("https://github.com/").unwrap().into()
}

#[test]
fn the_image_is_pushed_to_where_the_chart_pulls_it_from() {
    let pushed = document(WORKFLOW)["env"]["IMAGE"]
        .as_str()
        .unwrap()
        .to_owned();
    let pushed = pushed.replace("${{ github.repository }}", &repository());
    let values = document("charts/evenkeel/values.yaml");
    assert_eq!(values["image"]["repository"], pushed);
    assert!(script("publish").contains("\"docker://$IMAGE:${GITHUB_REF_NAME#v}\""));
}

#[test]
fn image_and_chart_are_signed_by_their_digests() {
    let script = script("publish");
    let lines = script.lines().map(str::trim);
    let signed: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("cosign sign --yes "))
        .collect();
    for (what, digest) in [
        ("$IMAGE@", "dist/digest"),
        ("$CHARTS/evenkeel@", "dist/pushed"),
    ] {
        let is_signed = |line: &&str| line.contains(what) && line.contains(digest);
        assert!(signed.iter().any(is_signed), "{what}: {signed:?}");
        // Written by the step that pushes, and not left over from another.
        assert!(
            script.contains(&format!("--digestfile {digest}"))
                || script.contains(&format!("> {digest}"))
        );
    }
}

#[test]
fn what_krew_downloads_is_built_and_uploaded() {
    let plugin = document("config/krew/evenkeel.yaml");
    let uri = plugin["spec"]["platforms"][0]["uri"].as_str().unwrap();
    let (place, file) = uri.rsplit_once('/').unwrap();
    let releases = format!("https://github.com/{}/releases/download/", repository());
    assert!(place.starts_with(&releases), "{uri}");
    let (build, publish) = (script("build"), script("publish"));
    let made = build.lines().find(|line| line.starts_with("make "));
    assert!(
        made.unwrap().split(' ').any(|target| target == "krew"),
        "{made:?}"
    );
    let upload = publish
        .lines()
        .find(|line| line.contains("gh release create"));
    for file in [&format!("dist/{file}"), "dist/krew/evenkeel.yaml"] {
        assert!(upload.unwrap().contains(file), "{file}: {upload:?}");
    }
    assert!(text("xtask/src/krew.rs").contains(&format!("\"{file}\"")));
}

/// Build scripts of every dependency run where things are built: there nothing may be written or signed. And what goes out was tested.
#[test]
fn who_builds_may_not_publish() {
    let workflow = document(WORKFLOW);
    assert_eq!(workflow["permissions"], json!({"contents": "read"}));
    let jobs = &workflow["jobs"];
    for job in ["test", "build"] {
        assert!(jobs[job]["permissions"].is_null(), "{job}");
    }
    assert_eq!(jobs["publish"]["needs"], json!(["test", "build"]));
    let publish = script("publish");
    for builder in ["make ", "cargo ", "go run"] {
        assert!(!publish.contains(builder), "it runs {builder}");
    }
    let tests = document(TESTS);
    assert_eq!(jobs["test"]["uses"], "./.github/workflows/ci.yaml");
    assert!(tests["on"].get("workflow_call").is_some());
    assert!(publish.contains("skopeo copy --preserve-digests "));
}

/// Before anybody tags: by the same targets, in the same container, in which the tests run too.
#[test]
fn what_a_release_makes_is_made_by_every_push() {
    let (release, tests) = (document(WORKFLOW), document(TESTS));
    let (build, artifacts) = (&release["jobs"]["build"], &tests["jobs"]["artifacts"]);
    let made = |job: &Value| -> Vec<String> {
        let script = runs(job);
        let targets = script.lines().filter(|line| line.starts_with("make "));
        targets.map(str::to_owned).collect()
    };
    assert_eq!(made(build).len(), 1);
    assert_eq!(made(build), made(artifacts));
    assert_eq!(build["container"], artifacts["container"]);
    let image = &tests["jobs"]["test"]["container"]["image"];
    assert_eq!(&build["container"]["image"], image);
}

/// As in `make test`: which Helm it is would otherwise be settled by the day.
#[test]
fn helm_is_the_one_that_is_tested() {
    let tested = text("tests/cluster/components/helm/go.mod");
    let tested = tested.lines().find_map(|line| {
        let module = line.trim().trim_start_matches("require ");
        module.strip_prefix("helm.sh/helm/v4 ")
    });
    let tested = tested.unwrap().split(' ').next().unwrap();
    for file in [WORKFLOW, TESTS] {
        let text = text(file);
        let installed = text.matches("azure/setup-helm@").count();
        let pinned = text.matches(&format!("version: {tested}\n")).count();
        assert_eq!(installed, pinned, "{file}: {tested}");
    }
    let (minor, _) = tested.trim_start_matches('v').rsplit_once('.').unwrap();
    let told = format!("Tested with Helm {minor};");
    assert!(text("charts/evenkeel/README.md").contains(&told), "{told}");
}

/// A tag can be moved to other code; a commit cannot.
#[test]
fn every_action_is_of_one_commit() {
    let mut pinned = 0;
    for entry in fs::read_dir(path(".github/workflows")).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let theirs = |line: &&str| line.contains("uses: ") && !line.contains("uses: ./");
        for line in text.lines().filter(theirs) {
            let (_, commit) = line.split_once('@').unwrap_or_default();
            let (commit, tag) = commit.split_once(" # v").unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit && !tag.is_empty(), "{}: {line}", file.display());
            pinned += 1;
        }
    }
    assert!(pinned > 5, "only {pinned} actions were found");
}
