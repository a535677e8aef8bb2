//! What `make conformance` is asked for.

use anyhow::{Context as _, Result, bail, ensure};

use crate::plan::{EVENTS, Event, MODES, Mode, cells, name};

/// What is to be measured, and how.
#[derive(Debug)]
pub struct Options {
    /// In this order.
    pub cells: Vec<(&'static Mode, &'static Event)>,
    /// So many cells beside each other.
    pub jobs: usize,
}

impl Options {
    /// From the command line. What it does not know would be hours of something else than was meant.
    pub fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let (mut parts, mut jobs) = (String::new(), 1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--cells" => parts = value()?,
                "--jobs" => {
                    let number = value()?;
                    let number = number.parse().ok().filter(|jobs| *jobs > 0);
                    jobs = number.context("--jobs needs a number from 1 on")?;
                }
                // The last of them are what cargo passes to every test program.
                "--conformance" | "--quiet" | "--nocapture" | "--show-output" => {}
                other => {
                    bail!("unknown argument {other}: there are --cells PART[,PART…] and --jobs N")
                }
            }
        }
        Ok(Self {
            cells: chosen(&parts)?,
            jobs,
        })
    }
}

/// Cells that have one of these parts in their names, in the order of the parts. An empty part is in every name.
fn chosen(parts: &str) -> Result<Vec<(&'static Mode, &'static Event)>> {
    let mut chosen = Vec::new();
    for part in parts.split(',') {
        let named = || cells().filter(|(mode, event)| name(mode, event).contains(part));
        ensure!(
            named().next().is_some(),
            "no cell has {part} in its name: names are MODE.EVENT, with the modes {} and the events {}",
            MODES.map(|mode| mode.id).join(", "),
            EVENTS.map(|event| event.id).join(", "),
        );
        for cell in named() {
            if !chosen.contains(&cell) {
                chosen.push(cell);
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Options> {
        Options::of(line.split_whitespace().map(str::to_owned))
    }

    fn names(line: &str) -> Vec<String> {
        let cells = of(line).unwrap().cells.into_iter();
        cells.map(|(mode, event)| name(mode, event)).collect()
    }

    #[test]
    fn parts_choose_cells_in_their_order() {
        let all = names("--conformance");
        assert_eq!(all.len(), cells().count());
        assert_eq!(
            names("--conformance --cells recipe-nginx,nginx.idle,nginx.killed"),
            [
                "recipe-nginx.rolling-update",
                "recipe-nginx.scale-down-4-2",
                "nginx.idle",
                "nginx.killed"
            ]
        );
        // The rest follows, and nothing comes twice.
        let first = names("--conformance --cells scale-up,");
        assert_eq!(first.len(), all.len());
        assert!(first[..16].iter().all(|name| name.contains("scale-up")));
        assert!(!first[16..].iter().any(|name| name.contains("scale-up")));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refused = |line: &str| of(line).unwrap_err().to_string();
        let unknown = refused("--conformance --cells headless,idel");
        assert!(
            unknown.starts_with("no cell has idel in its name"),
            "{unknown}"
        );
        assert!(refused("--conformance --job 3").starts_with("unknown argument --job"));
        assert_eq!(refused("--cells"), "--cells needs a value");
        for jobs in ["0", "three"] {
            assert_eq!(
                refused(&format!("--jobs {jobs}")),
                "--jobs needs a number from 1 on"
            );
        }
        assert_eq!(of("--conformance --jobs 3").unwrap().jobs, 3);
        assert_eq!(of("--conformance").unwrap().jobs, 1);
    }
}
