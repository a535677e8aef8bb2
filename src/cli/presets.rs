//! `evenkeel presets`: the registry of servers' knobs.

use clap::{Args, ValueEnum};

use crate::presets::{self, Server};

/// Lists the servers whose knob is known, or tells all about one.
#[derive(Args)]
pub struct Presets {
    /// The preset to tell about; none: a table of all.
    name: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Presets {
    /// Prints it.
    pub fn main(self) -> anyhow::Result<()> {
        Ok(super::print(&self.text()?)?)
    }

    fn text(&self) -> anyhow::Result<String> {
        let one = self.name.as_deref().map(find).transpose()?;
        Ok(match (one, self.output) {
            (Some(server), Output::Text) => presets::details(server),
            (None, Output::Text) => presets::table(),
            (Some(server), Output::Json) => serde_json::to_string_pretty(server)? + "\n",
            (None, Output::Json) => serde_json::to_string_pretty(presets::all())? + "\n",
        })
    }
}

/// On a command line the case does not matter; in a resource it does.
fn find(name: &str) -> anyhow::Result<&'static Server> {
    presets::all()
        .iter()
        .find(|server| server.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let names: Vec<&str> = presets::names().collect();
            anyhow::anyhow!("no preset is called {name}: there are {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: Option<&str>, output: Output) -> String {
        let name = name.map(str::to_owned);
        Presets { name, output }.text().unwrap()
    }

    #[test]
    fn a_table_has_a_line_for_each() {
        let table = text(None, Output::Text);
        assert_eq!(table.lines().count(), presets::all().len() + 1);
        assert!(table.starts_with("NAME "), "{table}");
        let thanos = table.lines().find(|line| line.starts_with("Thanos "));
        assert!(thanos.unwrap().contains("--grpc-server-max-connection-age"));
    }

    #[test]
    fn one_is_shown_with_the_lines_to_use() {
        let shown = text(Some("tensorflowserving"), Output::Text);
        for expected in [
            "--grpc_channel_arguments=grpc.max_connection_age_ms=",
            "      preset: TensorFlowServing\n",
            "    grace: 30s\n",
            "      listFlag:\n        flag: --grpc_channel_arguments\n",
        ] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        assert!(!text(Some("Thanos"), Output::Text).contains("grace:"));
        assert!(text(Some("OtelCollector"), Output::Text).contains("max_connection_age: 5m"));
        assert!(text(Some("Etcd"), Output::Text).contains("Not possible: "));
    }

    #[test]
    fn json_is_read_back() {
        let all: Vec<Server> = serde_json::from_str(&text(None, Output::Json)).unwrap();
        assert_eq!(all, presets::all());
        let one: Server = serde_json::from_str(&text(Some("Loki"), Output::Json)).unwrap();
        assert_eq!(one.name, "Loki");
    }

    #[test]
    fn an_unknown_one_is_answered_with_the_known() {
        let told = find("Mongo").unwrap_err().to_string();
        assert!(told.contains("no preset is called Mongo") && told.contains("SpiceDB, "));
    }
}
