//! The client of the fake database server, over pipes: statements that end in `;` and a line break on standard input,
//! rows as `sqlite3 -quote` prints them on standard output, errors as `Error: MESSAGE (CODE)` on standard error.
//!
//! After an error it goes on. Once the server is gone it says so with the code 2013 and ends with 3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use stillpoint_tests::fake::{FakeError, FakeSession, KILLED, LOST};

const HELP: &str = "usage: fake-client (--socket=PATH [--user=NAME] | --defaults-file=FILE | --login FILE)

  --defaults-file=FILE, --login FILE   an option file of MySQL's format: socket and user of its group [client]";

/// How to log in.
#[derive(Default)]
struct Login {
    socket: Option<PathBuf>,
    user: Option<String>,
}

fn main() -> ExitCode {
    let mut login = Login::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if let Some(path) = argument.strip_prefix("--socket=") {
            login.socket = Some(path.into());
        } else if let Some(user) = argument.strip_prefix("--user=") {
            login.user = Some(user.into());
        } else if let Some(file) = argument.strip_prefix("--defaults-file=") {
            login.read(file);
        } else if argument == "--login"
            && let Some(file) = arguments.next()
        {
            login.read(&file);
        } else {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    }
    let Some(socket) = login.socket else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    let user = login.user.as_deref().unwrap_or("root");
    let mut session = match FakeSession::open(&socket, user) {
        Ok(session) => session,
        Err(error) => {
            say(&error);
            return ExitCode::FAILURE;
        }
    };
    let mut statement = String::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        statement.push_str(&line);
        let Some(whole) = statement.strip_suffix(';') else {
            statement.push(' ');
            continue;
        };
        match session.run(whole) {
            Ok(rows) => print(&rows),
            Err(error) => {
                say(&error);
                if matches!(error.code, LOST | KILLED) {
                    return ExitCode::from(3);
                }
            }
        }
        statement.clear();
    }
    ExitCode::SUCCESS
}

impl Login {
    fn read(&mut self, file: &str) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: {e}"));
        let mut in_group = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_group = line == "[client]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| in_group) else { continue };
            let value = unquoted(value);
            match key {
                "socket" => self.socket = Some(value.into()),
                "user" => self.user = Some(value),
                _ => {}
            }
        }
    }
}

/// `"…"` with backslashes before what they hide.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    out
}

fn print(rows: &[String]) {
    let mut stdout = std::io::stdout().lock();
    for row in rows {
        let _ = writeln!(stdout, "{row}");
    }
    let _ = stdout.flush();
}

fn say(error: &FakeError) {
    let _ = writeln!(std::io::stderr(), "Error: {error}");
}
