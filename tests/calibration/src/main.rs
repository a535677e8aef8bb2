//! Writes the tables of `docs/verdict.md`.

use std::fs;
use std::io;

use evenkeel_calibration::page::{Results, path, with};

fn main() -> io::Result<()> {
    let path = path();
    let page = fs::read_to_string(&path)?;
    let written = with(&page, &Results::new())
        .ok_or_else(|| io::Error::other("docs/verdict.md has no place for the tables"))?;
    fs::write(path, written)
}
