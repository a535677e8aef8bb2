//! The screen: a list of backends, or one backend's pods, each with a bar.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState, Wrap};

use super::model::{Backend, From, PodRow, Pods, State};
use super::once::{bar, decimals, percent, rate, word};
use super::view::View;

/// Cells of a bar in the list of backends.
const EVENNESS: usize = 12;
/// Cells of a bar among the pods.
const LOAD: usize = 40;

const GOOD: Color = Color::Green;
const BAD: Color = Color::Red;
const UNKNOWN: Color = Color::Yellow;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let notice = notice(view, frame.area().width);
    let [title, above, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(u16::try_from(notice.len()).unwrap_or(u16::MAX)),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(heading(view), title);
    frame.render_widget(Paragraph::new(notice), above);
    if view.opened.is_some() {
        pods(frame, body, view);
    } else {
        backends(frame, body, view);
    }
    frame.render_widget(bottom(view), keys);
}

fn heading(view: &View) -> Paragraph<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("evenkeel top", bold)];
    match &view.opened {
        Some(key) => spans.push(Span::raw(format!("  {}/{}", key.namespace, key.name))),
        None => spans.push(Span::raw(format!("  {} backends", view.backends.len()))),
    }
    if !view.asked {
        spans.push(Span::raw("  asking the cluster …"));
    }
    Paragraph::new(Line::from(spans))
}

/// What is wrong with what is shown, or what is left out of it, in lines of this width.
fn notice(view: &View, width: u16) -> Vec<Line<'static>> {
    let error = view.error.as_deref().map(|error| (error, BAD));
    let cut = view.cut.as_deref().map(|cut| (cut, UNKNOWN));
    let Some((text, color)) = error.or(cut) else {
        return Vec::new();
    };
    let width = usize::from(width);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    let style = Style::new().fg(color);
    let lines = lines.into_iter().map(|line| Line::styled(line, style));
    lines.collect()
}

fn bottom(view: &View) -> Paragraph<'static> {
    let keys = if view.opened.is_some() {
        format!(
            "↑↓ scroll   Esc back   s order ({})   q quit",
            view.pod_order.word()
        )
    } else {
        format!(
            "↑↓ select   Enter pods   s order ({})   q quit",
            view.order.word()
        )
    };
    Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM))
}

fn backends(frame: &mut Frame<'_>, area: Rect, view: &View) {
    if view.asked && view.backends.is_empty() {
        if view.error.is_none() {
            let hint = "There is no GrpcBackend here: kubectl apply one, or look into all namespaces with -A.";
            frame.render_widget(Paragraph::new(hint).wrap(Wrap { trim: true }), area);
        }
        return;
    }
    let [list, sentence] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(3)]).areas(area);
    let head = [
        "NAMESPACE",
        "NAME",
        "BALANCE",
        "PODS",
        "EVENNESS",
        "MAX/MEAN",
        "RPS",
        "STARVED",
        "MAXAGE",
    ];
    let rows: Vec<Row<'static>> = view.backends.iter().map(backend).collect();
    let widths = [
        longest(view, |backend| &backend.key.namespace),
        longest(view, |backend| &backend.key.name),
        Constraint::Length(16),
        Constraint::Length(7),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(8),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(view.selection());
    frame.render_stateful_widget(table, list, &mut state);
    if let Some(selected) = view.selection().and_then(|at| view.backends.get(at)) {
        let sentence_of =
            Paragraph::new(format!("\n{}", selected.message)).wrap(Wrap { trim: true });
        frame.render_widget(sentence_of, sentence);
    }
}

/// As wide as the longest, within bounds; no narrower than a column's head.
fn longest(view: &View, text: impl Fn(&Backend) -> &str) -> Constraint {
    let lengths = view
        .backends
        .iter()
        .map(|backend| text(backend).chars().count());
    let longest = lengths.max().unwrap_or(0).clamp(9, 40);
    Constraint::Length(u16::try_from(longest).unwrap_or(40))
}

fn backend(backend: &Backend) -> Row<'static> {
    let color = match backend.balanced {
        Some(true) => GOOD,
        Some(false) => BAD,
        None => UNKNOWN,
    };
    let evenness = backend
        .evenness()
        .map_or_else(String::new, |evenness| bar(evenness, EVENNESS));
    Row::new([
        Cell::new(backend.key.namespace.clone()),
        Cell::new(backend.key.name.clone()),
        Cell::new(backend.verdict.clone()).style(Style::new().fg(color)),
        Cell::new(backend.pods.clone()),
        Cell::new(evenness).style(Style::new().fg(color)),
        Cell::new(decimals(backend.max_over_mean)),
        Cell::new(rate(backend.requests_per_second)),
        Cell::new(backend.starved_pods.to_string()),
        Cell::new(backend.max_age.clone().unwrap_or_else(|| "-".into())),
    ])
}

fn pods(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let [sentence, list] =
        Layout::vertical([Constraint::Length(4), Constraint::Min(1)]).areas(area);
    if let Some(backend) = view.opened() {
        let said = format!("{}: {}", backend.verdict, backend.message);
        frame.render_widget(Paragraph::new(said).wrap(Wrap { trim: true }), sentence);
    }
    let Some(pods) = &view.pods else {
        if view.error.is_none() {
            frame.render_widget(Paragraph::new("reading the pods …"), list);
        }
        return;
    };
    let [above, list] = Layout::vertical([Constraint::Length(2), Constraint::Min(1)]).areas(list);
    frame.render_widget(Paragraph::new(about(pods)).wrap(Wrap { trim: true }), above);
    let rows: Vec<Row<'static>> = pods
        .rows
        .iter()
        .skip(view.scrolled)
        .map(|row| pod(row, pods.part(row)))
        .collect();
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Max(40),
        Constraint::Length(10),
    ];
    let head = Row::new(["POD", "SHARE", "RPS", "", "STATE"]);
    let table =
        Table::new(rows, widths).header(head.style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, list);
}

/// Where the figures are from, and what an even share would be.
fn about(pods: &Pods) -> String {
    let mean = pods
        .mean()
        .map(|mean| format!("an even share: {} requests a second", rate(Some(mean))));
    match (&pods.note, pods.source) {
        (Some(note), _) => note.clone(),
        (None, From::Pods) => mean.unwrap_or_default(),
        (None, From::Status) => String::new(),
    }
}

fn pod(pod: &PodRow, part: Option<f64>) -> Row<'static> {
    let color = match pod.state {
        State::Serving => GOOD,
        State::Hot | State::Starved => BAD,
        State::WarmingUp | State::NoMetrics => UNKNOWN,
    };
    let load = part.map_or_else(String::new, |part| bar(part, LOAD));
    Row::new([
        Cell::new(pod.name.clone()),
        Cell::new(percent(pod.share)),
        Cell::new(rate(pod.requests_per_second)),
        Cell::new(load).style(Style::new().fg(color)),
        Cell::new(word(pod.state)).style(Style::new().fg(color)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::model::Snapshot;
    use super::super::model::tests::{backend, pods as rates};
    use super::super::unread::unlisted;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(view: &mut View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(width.into());
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells
                .iter()
                .map(ratatui::buffer::Cell::symbol)
                .collect::<String>()
                .trim_end()
                .to_owned()
                + "\n"
        };
        lines.map(line).collect()
    }

    fn view(pods: Option<Pods>) -> View {
        let mut view = View::new(pods.as_ref().map(|pods| pods.of.clone()));
        view.take(Ok(Snapshot {
            backends: vec![
                backend("cart", Some(false), 1.5, 40.0),
                backend("rng", Some(true), 2.0, 1234.0),
            ],
            cut: None,
            pods,
        }));
        view
    }

    #[test]
    fn a_list_of_backends() {
        assert_eq!(
            drawn(&mut view(None), 100, 8),
            "evenkeel top  2 backends
NAMESPACE NAME      BALANCE          PODS    EVENNESS     MAX/MEAN RPS      STARVED MAXAGE
shop      cart      HotPod           2/2     █████████    1.33     40.0     0       1m
shop      rng       Balanced         2/2     ████████████ 1.00     1234     0       1m

a sentence

↑↓ select   Enter pods   s order (trouble first)   q quit
"
        );
    }

    #[test]
    fn the_pods_of_one() {
        let shown = drawn(&mut view(Some(rates("cart", &[32.0, 8.0]))), 90, 10);
        for expected in [
            "evenkeel top  shop/cart",
            "HotPod: a sentence",
            "an even share: 20.0 requests a second",
            "80%    32.0     █████",
            "hot",
            "Esc back   s order (busiest first)   q quit",
        ] {
            assert!(shown.contains(expected), "{expected}:\n{shown}");
        }
    }

    #[test]
    fn nothing_breaks_in_a_small_window() {
        for (width, height) in [(1, 1), (10, 3), (40, 5)] {
            drawn(&mut view(None), width, height);
            drawn(&mut view(Some(rates("cart", &[1.0]))), width, height);
            let mut refused = view(None);
            refused.error = Some("a sentence of some words".into());
            drawn(&mut refused, width, height);
        }
    }

    /// A screen, with the lines of a sentence put together again.
    fn read_out(view: &mut View) -> String {
        let shown = drawn(view, 80, 24);
        let lines: Vec<&str> = shown.lines().map(str::trim).collect();
        lines.join(" ")
    }

    #[test]
    fn why_nothing_can_be_shown_is_shown_whole() {
        for code in [401, 403, 404] {
            let status = kube::core::Status {
                code,
                ..kube::core::Status::default()
            };
            let error = kube::Error::Api(Box::new(status));
            let why = || unlisted(&error, "GrpcBackends", Some("a-namespace-of-some-length"));
            for opened in [None, Some(rates("cart", &[]).of)] {
                let mut view = View::new(opened);
                view.take(Err(why()));
                let shown = read_out(&mut view);
                assert!(shown.contains(&why().to_string()), "{shown}");
                assert!(
                    !shown.contains("NAMESPACE") && !shown.contains("reading"),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn what_is_left_out_is_said_whole() {
        let mut view = view(None);
        let cut = "only 5000 GrpcBackends are shown, and there are more than these: choose a namespace with -n";
        view.cut = Some(cut.into());
        let shown = read_out(&mut view);
        assert!(shown.contains(cut) && shown.contains("rng"), "{shown}");
    }

    #[test]
    fn an_empty_cluster_says_what_to_do() {
        let mut view = View::new(None);
        assert!(drawn(&mut view, 60, 5).contains("asking the cluster"));
        view.take(Ok(Snapshot::default()));
        assert!(drawn(&mut view, 90, 5).contains("There is no GrpcBackend here"));
        view.take(Err(anyhow::anyhow!("forbidden")));
        assert!(drawn(&mut view, 60, 5).contains("forbidden"));
    }
}
