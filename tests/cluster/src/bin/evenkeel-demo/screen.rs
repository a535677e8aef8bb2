//! What a person sees: numbered steps, commands as they would be typed, and frames that are redrawn in place on a
//! terminal and printed once elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Stdout, Write as _, stdout};
use std::time::Instant;

/// Columns that a command may take.
const LINE: usize = 100;

/// Standard output.
pub struct Screen {
    out: Stdout,
    begun: Instant,
    live: bool,
    step: usize,
    /// Lines of the frame that stands on the terminal.
    drawn: usize,
}

impl Screen {
    /// Time counts from here.
    pub fn new() -> Self {
        Self {
            out: stdout(),
            begun: Instant::now(),
            live: stdout().is_terminal(),
            step: 0,
            drawn: 0,
        }
    }

    /// Begins a step.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        let seconds = self.begun.elapsed().as_secs();
        let head = format!("{}. {title} ", self.step);
        let rule = "─".repeat(88_usize.saturating_sub(head.chars().count()));
        self.line(&format!(
            "\n{}",
            self.bold(&format!("{head}{rule} [{seconds:3} s]"))
        ));
    }

    /// A sentence or two.
    pub fn say(&mut self, text: &str) {
        self.line(text);
    }

    /// A command, as it would be typed.
    pub fn command(&mut self, program: &str, arguments: &[&str]) {
        self.line(&self.bold(&typed(program, arguments)));
    }

    /// A file that is applied.
    pub fn file(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("  │ {line}"));
        }
    }

    /// What a command said.
    pub fn output(&mut self, text: &str) {
        for line in text.trim_end().lines() {
            self.line(&format!("  {}", line.trim_end()));
        }
    }

    /// Shows lines in the place of those before; on anything but a terminal, not at all.
    pub fn frame(&mut self, lines: &[String]) {
        if !self.live {
            return;
        }
        self.erase();
        let mut text = String::new();
        for line in lines {
            // A line that wraps could not be found again.
            let cut: String = line.chars().take(100).collect();
            let _ = writeln!(text, "  {cut}");
        }
        let _ = write!(self.out, "{text}");
        let _ = self.out.flush();
        self.drawn = lines.len();
    }

    /// Shows the last lines of what was a moving picture.
    pub fn settle(&mut self, lines: &[String]) {
        self.erase();
        for line in lines {
            self.line(&format!("  {line}"));
        }
    }

    fn erase(&mut self) {
        for _ in 0..std::mem::take(&mut self.drawn) {
            let _ = write!(self.out, "\x1b[1A\x1b[2K");
        }
    }

    /// A reader who went away is no reason to stop: the cluster is still taken down.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn bold(&self, text: &str) -> String {
        if self.live {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// For a shell to take, and goes on in another line where one would be too long to read.
fn typed(program: &str, arguments: &[&str]) -> String {
    let mut text = format!("$ {program}");
    let mut length = text.len();
    for argument in arguments {
        let plain = argument
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_=./:,@".contains(letter));
        let word = if plain {
            (*argument).to_owned()
        } else {
            format!("'{argument}'")
        };
        if length + word.len() > LINE {
            text.push_str(" \\\n   ");
            length = 3;
        }
        let _ = write!(text, " {word}");
        length += word.len() + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_go_on_in_another_line() {
        let target = format!("--target=dns:///{}", "a".repeat(80));
        let typed = typed("kubectl", &["run", "a b", &target]);
        assert_eq!(typed, format!("$ kubectl run 'a b' \\\n    {target}"));
    }
}
