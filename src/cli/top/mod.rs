//! `evenkeel top`: how evenly backends are loaded, live in a terminal or once for scripts, with the user's own rights.
//!
//! ```text
//! source ── asks the cluster ──▶ model ── what is shown, as values ──▶ view ── keys, order, selection ──▶ draw
//!                                   └──────────────────────────────▶ once ── text or JSON
//! ```

mod draw;
mod model;
mod once;
mod pace;
mod pods;
mod round;
mod source;
mod unread;
mod view;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};

use super::print;
use crate::api::GoDuration;
use model::{Key, Snapshot};
use source::Source;
use view::{Step, View};

/// Shows how evenly backends are loaded: a live view in a terminal, or with --once a table or JSON.
///
/// The figures of backends are those of their status. Of the backend that is opened, each pod's metrics page is read through the API server,
/// which needs the right to get pods/proxy; without it, or where the pods want a token, the pods that the status names are shown.
#[derive(Args)]
pub struct Top {
    /// The GrpcBackend whose pods to show; none: all backends.
    name: Option<String>,
    /// The namespace; default: the one of the kubeconfig's context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    all_namespaces: bool,
    /// The kubeconfig's context to use.
    #[arg(long)]
    context: Option<String>,
    /// Print once and end; of a backend's pods after one window.
    #[arg(long)]
    once: bool,
    /// How --once prints.
    #[arg(short, long, value_enum, default_value_t = Output::Text, requires = "once")]
    output: Output,
    /// How far back the requests of an opened backend's pods are counted, 5s to 10m; they are read five times as often. Where that were more than 50 pages a second on average, or more than half of the time, they are read less often, and counted over two of these times at least.
    #[arg(long, default_value = "10s", value_parser = window)]
    window: Duration,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn window(text: &str) -> Result<Duration, String> {
    let window = GoDuration::new(text.to_owned());
    let window = window.get().map_err(|error| error.to_string())?;
    if !(Duration::from_secs(5)..=Duration::from_mins(10)).contains(&window) {
        return Err("it must be from 5s to 10m".into());
    }
    Ok(window)
}

impl Top {
    /// Shows it until the user has seen enough.
    pub fn main(self) -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(self.run())
    }

    async fn run(self) -> anyhow::Result<()> {
        if !self.once && !std::io::stdout().is_terminal() {
            bail!("the output is no terminal: use --once, with -o json for scripts");
        }
        let (source, namespace) = Source::connect(self.context.as_deref()).await?;
        let namespace = self.namespace.unwrap_or(namespace);
        let source = source.of(
            (!self.all_namespaces).then(|| namespace.clone()),
            self.window,
        );
        let opened = self.name.map(|name| Key { namespace, name });
        if self.once {
            let snapshot = once::take(source, opened.as_ref()).await?;
            print(&match self.output {
                Output::Text => once::text(&snapshot),
                Output::Json => serde_json::to_string_pretty(&snapshot)? + "\n",
            })?;
            return Ok(());
        }
        let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
        let outcome = live(&mut terminal, source, opened).await;
        ratatui::restore();
        outcome
    }
}

async fn live(
    terminal: &mut ratatui::DefaultTerminal,
    source: Source,
    opened: Option<Key>,
) -> anyhow::Result<()> {
    let mut view = View::new(opened.clone());
    let (open, to_open) = watch::channel(opened);
    let (found, mut finds) = mpsc::channel::<anyhow::Result<Snapshot>>(1);
    let asking = tokio::spawn(source.keep_asking(to_open, found));
    let mut events = EventStream::new();
    loop {
        terminal.draw(|frame| draw::draw(frame, &mut view))?;
        tokio::select! {
            Some(snapshot) = finds.recv() => view.take(snapshot),
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind == KeyEventKind::Press => match view.press(key) {
                    Step::Stay => {}
                    Step::Open(key) => { open.send_replace(key); }
                    Step::Quit => break,
                },
                // Another size, most of all: drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("the terminal cannot be read"),
                None => break,
            },
        }
    }
    asking.abort();
    Ok(())
}
