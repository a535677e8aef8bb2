//! The plugin for kubectl.

use crate::{document, text};

/// krew makes `kubectl evenkeel` of the name, and takes the binary out of the archive of this version.
#[test]
fn the_plugin_is_this_version_of_the_binary() {
    let plugin = document("config/krew/evenkeel.yaml");
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    assert_eq!(plugin["metadata"]["name"], name);
    assert_eq!(plugin["spec"]["version"], format!("v{version}"));
    let platform = &plugin["spec"]["platforms"][0];
    assert_eq!(platform["bin"], name);
    assert_eq!(platform["files"][0]["from"], name);
    let uri = platform["uri"].as_str().unwrap();
    assert!(
        uri.ends_with(&format!("/v{version}/evenkeel-linux-amd64.tar.gz")),
        "{uri}"
    );
    // Elsewhere krew says no more than that there is nothing for this platform.
    let page = text("docs/install.md");
    for platform in plugin["spec"]["platforms"].as_array().unwrap() {
        let labels = &platform["selector"]["matchLabels"];
        let both = [&labels["os"], &labels["arch"]].map(|own| own.as_str().unwrap());
        assert!(
            page.contains(&format!("has one for {}", both.join("/"))),
            "{both:?}"
        );
    }
    // Filled in by `make krew`: a checksum that stands here is of another archive.
    assert_eq!(platform["sha256"], "0".repeat(64));
    let short = plugin["spec"]["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
}
