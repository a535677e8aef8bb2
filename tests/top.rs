//! `evenkeel top` on a terminal and before a pipe: the binary as a person runs it, beside an API server that knows two backends.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};

/// Far above what any step takes.
const DEADLINE: Duration = Duration::from_mins(1);
const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

#[test]
fn it_opens_a_backend_follows_the_size_and_leaves_the_terminal_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    fs::write(&kubeconfig, config(&api_server()).to_string()).unwrap();

    let mut terminal = Terminal::new();
    let before = modes(&terminal.attributes());
    let mut top = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    top.arg("top").env_clear().env("TERM", "xterm");
    let mut top = terminal.run(top.env("KUBECONFIG", &kubeconfig));

    terminal.shows(0, ENTERED);
    // The one in trouble is the first, and thus the selected one.
    terminal.shows(0, "HotPod");
    terminal.shows(0, "Balanced");
    assert_ne!(modes(&terminal.attributes()), before, "no raw mode");
    terminal.press(b"\r");
    terminal.shows(0, "shop/cart");
    terminal.shows(0, "SHARE");
    // Everything is drawn anew in another size: no word is put together from what stood there before.
    let resized = terminal.length();
    terminal.resize(100, 30, &top);
    terminal.shows(resized, "shown: you may not list pods in this namespace");
    terminal.shows(resized, "\x1b[30;1H");
    terminal.shows(resized, "Esc back");
    terminal.press(b"q");

    let status = ended(&mut top);
    terminal.shows(resized, LEFT);
    assert_eq!(status.code(), Some(0), "{}", terminal.text(0));
    assert_eq!(modes(&terminal.attributes()), before);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    fs::write(&kubeconfig, config(&api_server()).to_string()).unwrap();
    let commands: [&[&str]; 4] = [
        &["top", "--once"],
        &["top", "--once", "-o", "json"],
        &["presets"],
        &["crd"],
    ];
    for arguments in commands {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.args(arguments).env("KUBECONFIG", &kubeconfig);
        let said = command.stdout(writer).output().unwrap();
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(
            said.status.success() && errors.is_empty(),
            "{arguments:?}: {} {errors}",
            said.status
        );
    }
}

struct Terminal {
    /// What a terminal emulator holds.
    keyboard: File,
    /// What programs hold, kept open so that its state outlives them.
    line: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let line = ioctl_tiocgptpeer(&screen, flags).unwrap();
        tcsetwinsize(&line, size(80, 24)).unwrap();
        let keyboard = File::from(screen);
        let mut screen = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let all = shown.clone();
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut some) {
                all.lock().extend(&some[..length]);
            }
        });
        Self {
            keyboard,
            line,
            shown,
        }
    }

    fn run(&self, command: &mut Command) -> Child {
        let line = || self.line.try_clone().unwrap();
        let command = command.stdin(line()).stdout(line()).stderr(line());
        command.spawn().unwrap()
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// As the kernel tells the processes in front of a terminal.
    fn resize(&self, columns: u16, rows: u16, program: &Child) {
        tcsetwinsize(&self.line, size(columns, rows)).unwrap();
        kill_process(Pid::from_child(program), Signal::WINCH).unwrap();
    }

    fn attributes(&self) -> Termios {
        tcgetattr(&self.line).unwrap()
    }

    fn length(&self) -> usize {
        self.shown.lock().len()
    }

    fn text(&self, from: usize) -> String {
        String::from_utf8_lossy(&self.shown.lock()[from..]).into_owned()
    }

    /// Waits for that to be written, behind what was written before.
    fn shows(&self, from: usize, text: &str) {
        let begun = Instant::now();
        let is_there = |shown: &str| shown.contains(text) || words(shown).contains(text);
        while !is_there(&self.text(from)) {
            let shown = || self.text(from);
            assert!(begun.elapsed() < DEADLINE, "no {text:?}: {:?}", shown());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// With a space for each control sequence: a cell that stays as it was is passed over by one.
fn words(shown: &str) -> String {
    let is_parameter = |c: char| !c.is_ascii_alphabetic();
    let pieces = shown.split("\x1b[").skip(1);
    let texts = pieces.filter_map(|piece| piece.trim_start_matches(is_parameter).get(1..));
    let words: Vec<&str> = texts.flat_map(str::split_whitespace).collect();
    words.join(" ")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn modes(of: &Termios) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        of.input_modes, of.output_modes, of.control_modes, of.local_modes
    )
}

fn ended(program: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = program.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > DEADLINE {
            program.kill().unwrap();
            panic!("it goes on");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn config(address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}]})
}

/// Lists backends, and refuses all else.
fn api_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || answer(&connection));
        }
    });
    address
}

fn answer(mut connection: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let (status, body) = if asked.contains("/grpcbackends") {
        ("200 OK", backends())
    } else {
        (
            "403 Forbidden",
            json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}),
        )
    };
    let body = body.to_string();
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn backends() -> Value {
    let backend = |name: &str, status: &str, reason: &str| {
        json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend",
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
            "status": {"conditions": [{"type": "Balanced", "status": status, "reason": reason, "message": "a sentence",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    let items = [
        backend("billing", "True", "Balanced"),
        backend("cart", "False", "HotPod"),
    ];
    json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackendList", "metadata": {}, "items": items})
}
