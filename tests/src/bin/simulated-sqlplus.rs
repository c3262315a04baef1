//! Answers as `sqlplus -S -L -R 3 /nolog` is documented to, over pipes, for the instances of [`stillpoint_tests::oracle`].
//!
//! Rows and errors come on standard output; what is set is kept as the client keeps it, so a client that was told nothing
//! prints headings, counts and pages. Of SQL it knows the statements that a backup needs, and of each when Oracle refuses
//! it. A statement that takes time is run by a process of its own, as a server's is: it goes on when the client is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::Value;
use stillpoint_tests::oracle::Instance;

/// What Oracle says to a statement that it refuses: one line for each error.
type Refused = String;

/// A cell: text is quoted in CSV, a number is not.
enum Cell {
    Text(String),
    Number(String),
}

/// What the client was told.
struct Settings {
    csv: bool,
    heading: bool,
    feedback: bool,
    define: bool,
    page: bool,
}

/// A session of the server's.
#[derive(Clone)]
struct Session {
    instance: Instance,
    /// `None`: connected to an idle instance.
    id: Option<String>,
    user: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [server, id, user, text] = arguments.as_slice()
        && server == "--server"
    {
        let instance = instance().expect("the client had one");
        let session = Session { instance, id: Some(id.clone()), user: user.clone() };
        return serve(&session, text);
    }
    let known = ["-S", "-L", "-R", "3", "/nolog"];
    if let Some(strange) = arguments.iter().find(|a| !known.contains(&a.as_str())) {
        println!("SP2-0306: Invalid option.\nUsage: {strange}");
        return ExitCode::FAILURE;
    }
    if std::env::var_os("ORACLE_HOME").is_none() {
        println!("Error 6 initializing SQL*Plus\nSP2-0667: Message file sp1<lang>.msb not found");
        println!("SP2-0750: You may need to set ORACLE_HOME to your Oracle software directory");
        return ExitCode::FAILURE;
    }
    let restricted = arguments.windows(2).any(|w| w == ["-R", "3"]);
    Client { settings: Settings::fresh(), session: None, restricted }.run()
}

fn instance() -> Option<Instance> {
    let home = PathBuf::from(std::env::var_os("ORACLE_HOME")?);
    Instance::named(&home, &std::env::var("ORACLE_SID").ok()?)
}

impl Settings {
    fn fresh() -> Settings {
        Settings { csv: false, heading: true, feedback: true, define: true, page: true }
    }
}

struct Client {
    settings: Settings,
    session: Option<Session>,
    restricted: bool,
}

impl Client {
    fn run(mut self) -> ExitCode {
        let mut lines = std::io::stdin().lock().lines();
        let mut buffer = String::new();
        while let Some(Ok(mut line)) = lines.next() {
            // A name behind & is asked for, and the answer is the next line.
            while let (true, Some(at)) = (self.settings.define, line.find('&')) {
                let end = line[at + 1..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(line.len(), |n| at + 1 + n);
                print!("Enter value for {}: ", &line[at + 1..end]);
                let value = lines.next().and_then(Result::ok).unwrap_or_default();
                line.replace_range(at..end, &value);
            }
            let text = line.trim();
            if buffer.is_empty() && (text.is_empty() || self.command(text)) {
                if ["EXIT", "QUIT"].iter().any(|w| text.trim_end_matches(';').eq_ignore_ascii_case(w)) {
                    return ExitCode::SUCCESS;
                }
                flush();
                continue;
            }
            if !buffer.is_empty() {
                buffer.push(' ');
            }
            buffer.push_str(text);
            if let Some(statement) = buffer.strip_suffix(';') {
                let statement = statement.trim().to_owned();
                buffer.clear();
                self.statement(&statement);
                flush();
            }
        }
        ExitCode::SUCCESS
    }

    /// A command of the client's own. False: it is a statement.
    fn command(&mut self, text: &str) -> bool {
        let word = text.split(|c: char| c.is_whitespace() || c == ';').next().unwrap_or_default().to_uppercase();
        let rest = text.get(word.len()..).unwrap_or_default().trim_start();
        match word.as_str() {
            // What stands behind it is printed, a semicolon too.
            "PROMPT" => println!("{rest}"),
            "SET" => self.set(rest.trim_end_matches(';')),
            "WHENEVER" | "EXIT" | "QUIT" | "REM" | "REMARK" => {}
            "CONNECT" | "CONN" => self.connect(rest.trim_end_matches(';')),
            "SELECT" | "WITH" | "ALTER" => return false,
            _ if text.starts_with(['!', '@']) || RESTRICTED.contains(&word.as_str()) => {
                if self.restricted {
                    println!("SP2-0738: Restricted command \"{word}\" not available");
                } else {
                    let _ = Command::new("sh").arg("-c").arg(rest).status();
                }
            }
            _ => println!("SP2-0734: unknown command beginning \"{text:.10}...\" - rest of line ignored."),
        }
        true
    }

    fn set(&mut self, rest: &str) {
        let words: Vec<String> = rest.split_whitespace().map(str::to_uppercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["DEFINE", on] => self.settings.define = *on != "OFF",
            ["HEADING", on] => self.settings.heading = *on == "ON",
            ["FEEDBACK", on] => self.settings.feedback = *on != "OFF",
            ["PAGESIZE", n] => self.settings.page = *n != "0",
            ["MARKUP", "CSV", on, "DELIMITER", ",", "QUOTE", "ON"] => self.settings.csv = *on == "ON",
            [name, _] if QUIET.contains(name) => {}
            _ => println!("SP2-0158: unknown SET option \"{rest:.20}\""),
        }
    }

    fn connect(&mut self, login: &str) {
        self.session = None;
        let refuse = |words: &str| println!("ERROR:\n{words}\n\n");
        let Some(instance) = instance() else {
            return refuse(if std::env::var_os("ORACLE_SID").is_none() {
                "ORA-12162: TNS:net service name is incorrectly specified"
            } else {
                "ORA-12547: TNS:lost contact"
            });
        };
        let upper = login.to_uppercase();
        let (who, role) =
            upper.split_once(" AS ").map_or((login, ""), |(who, role)| (&login[..who.len()], role.trim()));
        let behaviour = behaviour(&instance);
        let idle = instance.get("status") == "DOWN";
        let uid = Value::from(nix::unistd::geteuid().as_raw());
        let may = |list: &str| instance.get(list).as_array().is_some_and(|l| l.contains(&uid));
        let user = match (who.trim(), role) {
            ("/", "SYSDBA") if may("dba_users") => "SYS".to_owned(),
            ("/", "SYSBACKUP") if may("backup_users") => "SYSBACKUP".to_owned(),
            ("/", _) => return refuse("ORA-01031: insufficient privileges"),
            (named, role) => {
                let (name, password) = named.split_once('/').unwrap_or((named, ""));
                let password = password.split('@').next().unwrap_or_default().trim_matches('"');
                if instance.get("passwords")[name.to_uppercase()] != *password {
                    return refuse(
                        "ORA-01017: invalid username/password; logon denied\n\n\nWarning: You are no longer connected to ORACLE.",
                    );
                }
                match role {
                    "SYSDBA" => "SYS".to_owned(),
                    "SYSBACKUP" => "SYSBACKUP".to_owned(),
                    _ => name.to_uppercase(),
                }
            }
        };
        instance.note(&format!("CONNECT {} AS {role}", who.split('/').next().unwrap_or_default()));
        for line in behaviour.iter().filter_map(|l| l.strip_prefix("greet ")) {
            println!("{line}");
        }
        if idle {
            println!("Connected to an idle instance.");
        } else {
            println!("Connected.");
        }
        // The site's own profile, which is read with each login.
        self.settings = Settings { define: self.settings.define, ..Settings::fresh() };
        let id = (!idle).then(|| {
            let sid = instance.with(|state| {
                let sid = state["next_sid"].as_u64().unwrap();
                state["next_sid"] = (sid + 1).into();
                sid
            });
            let id = format!("{sid},{}", sid * 7);
            std::fs::write(session_file(&instance, &id), "").unwrap();
            id
        });
        self.session = Some(Session { instance, id, user });
    }

    fn statement(&mut self, text: &str) {
        let Some(session) = self.session.clone() else { return println!("SP2-0640: Not connected") };
        session.instance.note(text);
        if session.instance.get("status") == "DOWN" || session.id.is_none() {
            let words = if session.id.is_some() {
                "ORA-03113: end-of-file on communication channel"
            } else {
                "ORA-01034: ORACLE not available"
            };
            if session.id.is_some() {
                self.session = None;
            }
            return println!(
                "{text:.30}\n*\nERROR at line 1:\n{words}\nProcess ID: 0\nSession ID: 0 Serial number: 0\n\n"
            );
        }
        if killed(&session) {
            self.session = None;
            return println!("{text}\n*\nERROR at line 1:\nORA-00028: your session has been killed\n\n");
        }
        match server(&session, text) {
            Err(words) => println!("{text}\n*\nERROR at line 1:\n{words}\n\n"),
            Ok(Answer::Done(words)) => {
                if self.settings.feedback {
                    println!("\n{words}\n");
                }
            }
            Ok(Answer::Rows(names, rows)) => self.print(names, &rows),
        }
    }

    fn print(&self, names: &str, rows: &[Vec<Cell>]) {
        if self.settings.page && !rows.is_empty() {
            println!();
        }
        if self.settings.heading && !rows.is_empty() {
            println!("{names}");
        }
        for row in rows {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| match (cell, self.settings.csv) {
                    (Cell::Text(text), true) => format!("\"{}\"", text.replace('"', "\"\"")),
                    (Cell::Text(text) | Cell::Number(text), _) => text.clone(),
                })
                .collect();
            println!("{}", cells.join(if self.settings.csv { "," } else { "\t" }));
        }
        if self.settings.feedback {
            match rows.len() {
                0 => println!("\nno rows selected\n"),
                n => println!("\n{n} rows selected.\n"),
            }
        }
    }
}

const RESTRICTED: [&str; 13] =
    ["HOST", "SPOOL", "START", "EDIT", "ED", "GET", "SAVE", "STORE", "RUN", "R", "PASSWORD", "COPY", "EXECUTE"];

const QUIET: [&str; 13] = [
    "AUTOTRACE",
    "ECHO",
    "ERRORLOGGING",
    "FLUSH",
    "SERVEROUTPUT",
    "TERMOUT",
    "TIME",
    "TIMING",
    "TRIMOUT",
    "VERIFY",
    "LINESIZE",
    "NEWPAGE",
    "TAB",
];

enum Answer {
    Done(&'static str),
    Rows(&'static str, Vec<Vec<Cell>>),
}

fn flush() {
    let _ = std::io::stdout().flush();
}

fn behaviour(instance: &Instance) -> Vec<String> {
    let text = std::fs::read_to_string(instance.folder().join("behaviour")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn session_file(instance: &Instance, id: &str) -> PathBuf {
    instance.folder().join("sessions").join(id)
}

fn killed(session: &Session) -> bool {
    session.id.as_ref().is_some_and(|id| !session_file(&session.instance, id).exists())
}

/// Runs a statement, as slowly as the instance is told to.
fn server(session: &Session, text: &str) -> Result<Answer, Refused> {
    for line in behaviour(&session.instance) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "hang" if text.starts_with(rest) => loop {
                std::thread::sleep(Duration::from_millis(5));
                if killed(session) {
                    return Err("ORA-00028: your session has been killed".into());
                }
            },
            "slow" if rest.split_once(' ').is_some_and(|(_, begins)| text.starts_with(begins)) => {
                return apart(session, text);
            }
            // Somebody else begins a backup of one file, just before this statement.
            "meanwhile" if text.starts_with(rest) => {
                session.instance.with(|state| state["files"][2]["active"] = true.into());
            }
            "fail" => {
                if let Some((error, begins)) = rest.split_once(" | ")
                    && text.starts_with(begins)
                {
                    return Err(error.into());
                }
            }
            _ => {}
        }
    }
    execute(session, text)
}

/// By a process that outlives its client.
fn apart(session: &Session, text: &str) -> Result<Answer, Refused> {
    let id = session.id.clone().unwrap_or_default();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--server", &id, &session.user, text]).process_group(0);
    let done = command.output().unwrap();
    if done.status.success() {
        Ok(Answer::Done("Done."))
    } else {
        Err(String::from_utf8_lossy(&done.stdout).trim().into())
    }
}

fn serve(session: &Session, text: &str) -> ExitCode {
    let slow = behaviour(&session.instance).into_iter().find_map(|line| {
        let (milliseconds, begins) = line.strip_prefix("slow ")?.split_once(' ')?;
        text.starts_with(begins).then(|| milliseconds.parse().ok())?
    });
    let end = Instant::now() + Duration::from_millis(slow.unwrap_or_default());
    while Instant::now() < end {
        if killed(session) {
            println!("ORA-00028: your session has been killed");
            return ExitCode::FAILURE;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    match execute(session, text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(words) => {
            println!("{words}");
            ExitCode::FAILURE
        }
    }
}

fn text(value: &Value) -> Cell {
    Cell::Text(plain(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn one(names: &'static str, cells: Vec<Cell>) -> Result<Answer, Refused> {
    Ok(Answer::Rows(names, vec![cells]))
}

fn execute(session: &Session, statement: &str) -> Result<Answer, Refused> {
    session.instance.with(|state| match statement.split_once(' ') {
        Some(("ALTER", _)) => alter(session, state, statement),
        _ => select(session, state, statement),
    })
}

fn alter(session: &Session, state: &mut Value, statement: &str) -> Result<Answer, Refused> {
    if session.user != "SYSBACKUP" && session.user != "SYS" {
        return Err("ORA-01031: insufficient privileges".into());
    }
    let status = plain(&state["status"]);
    let open = status == "OPEN";
    let mounted = || if status == "STARTED" { Err("ORA-01507: database not mounted".to_owned()) } else { Ok(()) };
    let active = |state: &Value| state["files"].as_array().unwrap().iter().find(|f| f["active"] == true).cloned();
    let scn = state["scn"].as_u64().unwrap() + 17;
    match statement {
        "ALTER SYSTEM ARCHIVE LOG CURRENT" => {
            if !open {
                return Err("ORA-01109: database not open".into());
            }
            if state["log_mode"] != "ARCHIVELOG" {
                return Err("ORA-00258: manual archiving in NOARCHIVELOG mode must identify log".into());
            }
            let sequence = state["sequence"].as_u64().unwrap();
            let name = format!("arch/1_{sequence}_{}.arc", state["resetlogs"]);
            std::fs::write(session.instance.folder().join(name), format!("to {scn}\n")).unwrap();
            state["archived"] = sequence.into();
            state["sequence"] = (sequence + 1).into();
            state["scn"] = scn.into();
            Ok(Answer::Done("System altered."))
        }
        "ALTER DATABASE BEGIN BACKUP" => {
            mounted()?;
            if state["log_mode"] != "ARCHIVELOG" {
                return Err("ORA-01123: cannot start online backup; media recovery not enabled".into());
            }
            if !open || state["open_mode"] != "READ WRITE" {
                return Err("ORA-01109: database not open".into());
            }
            if let Some(file) = active(state) {
                return Err(format!(
                    "ORA-01146: cannot start online backup - file {} is already in backup\nORA-01110: data file {}: '{}'",
                    file["number"],
                    file["number"],
                    plain(&file["name"])
                ));
            }
            for file in state["files"].as_array_mut().unwrap() {
                file["active"] = true.into();
                file["change"] = scn.into();
                file["time"] = "2026-01-02 03-04-05".into();
            }
            state["checkpoint"] = scn.into();
            state["scn"] = (scn + 1).into();
            Ok(Answer::Done("Database altered."))
        }
        "ALTER DATABASE END BACKUP" => {
            mounted()?;
            if active(state).is_none() {
                return Err("ORA-01142: cannot end online backup - none of the files are in backup".into());
            }
            for file in state["files"].as_array_mut().unwrap() {
                file["active"] = false.into();
            }
            state["scn"] = scn.into();
            Ok(Answer::Done("Database altered."))
        }
        _ if statement.starts_with("ALTER SYSTEM KILL SESSION '") => {
            let id = statement.split('\'').nth(1).unwrap_or_default();
            match std::fs::remove_file(session_file(&session.instance, id)) {
                Ok(()) => Ok(Answer::Done("System altered.")),
                Err(_) => Err("ORA-00030: User session ID does not exist.".into()),
            }
        }
        _ if statement.starts_with("ALTER DATABASE BACKUP CONTROLFILE TO '") => {
            mounted()?;
            let path = statement.split('\'').nth(1).unwrap_or_default();
            if Path::new(path).exists() && !statement.ends_with(" REUSE") {
                return Err(format!(
                    "ORA-01580: error creating control backup file {path}\nORA-27038: created file already exists"
                ));
            }
            match std::fs::copy(session.instance.folder().join("data/control01.ctl"), path) {
                Ok(_) => Ok(Answer::Done("Database altered.")),
                Err(e) => Err(format!(
                    "ORA-01580: error creating control backup file {path}\nORA-27040: file create error, unable to create \
                     file\nLinux-x86_64 Error: {}: {e}",
                    e.raw_os_error().unwrap_or_default()
                )),
            }
        }
        _ => Err("ORA-02065: illegal option for ALTER SYSTEM".into()),
    }
}

fn select(session: &Session, state: &mut Value, statement: &str) -> Result<Answer, Refused> {
    let lower = statement.to_lowercase();
    let from = |table: &str| lower.contains(&format!("from {table}"));
    let begins = |start: &str| lower.starts_with(start);
    if from("dual") {
        let mut rows = Vec::new();
        for (name, users) in [("SYSBACKUP", &["SYSBACKUP", "SYS"][..]), ("SYSDBA", &["SYS"])] {
            if users.contains(&session.user.as_str()) {
                rows.push(vec![Cell::Text(name.into())]);
            }
        }
        return Ok(Answer::Rows("'SYSBACKUP'", rows));
    }
    if session.user != "SYSBACKUP" && session.user != "SYS" {
        return Err("ORA-00942: table or view does not exist".into());
    }
    if from("v$session") {
        return one("ID", vec![Cell::Text(session.id.clone().unwrap_or_default())]);
    }
    if from("v$instance") {
        let sid = &session.instance.sid;
        if begins("select instance_name ||") {
            let home = session.instance.folder();
            let host = home.parent().unwrap().display().to_string().replace('/', "-");
            return one("SERVER", vec![Cell::Text(format!("{sid} {host} {}", plain(&state["started"])))]);
        }
        return one(
            "INSTANCE_NAME",
            vec![Cell::Text(sid.clone()), text(&state["version"]), text(&state["status"]), text(&state["archiver"])],
        );
    }
    if from("v$parameter") {
        return if lower.contains("commit_wait") {
            let nowait = plain(&state["commit_wait"]).contains("NOWAIT");
            one("DURABLE", vec![Cell::Text(if nowait { "NO" } else { "YES" }.into())])
        } else {
            one("CLUSTER", vec![text(&state["cluster"])])
        };
    }
    if from("v$archive_dest") {
        return Ok(Answer::Rows("DEST_NAME", Vec::new()));
    }
    if from("v$recovery_file_dest") {
        return one("NAME", vec![Cell::Text("/fra".into()), text(&state["area_percent"])]);
    }
    if state["status"] == "STARTED" {
        return Err("ORA-01507: database not mounted".into());
    }
    state["scn"] = (state["scn"].as_u64().unwrap() + 1).into();
    let files = state["files"].as_array().unwrap().clone();
    let active: Vec<&Value> = files.iter().filter(|f| f["active"] == true).collect();
    if from("v$backup b") {
        let row = |f: &&Value| vec![text(&f["number"]), text(&f["name"]), text(&f["time"])];
        return Ok(Answer::Rows("FILE", active.iter().map(row).collect()));
    }
    if begins("select 'active '") {
        return one("ACTIVE", vec![Cell::Text(format!("ACTIVE {}", active.len()))]);
    }
    if from("v$backup") {
        let sum: u64 = active.iter().filter_map(|f| f["change"].as_u64()).sum();
        return one("FILES", vec![Cell::Text(format!("{} {sum}", active.len()))]);
    }
    if from("v$datafile_header") {
        return one("FILES", vec![text(&state["fuzzy"])]);
    }
    if from("v$archived_log") {
        if begins("select name") {
            let name = |n: u64| session.instance.folder().join(format!("arch/1_{n}_1.arc"));
            let all = (1..=state["archived"].as_u64().unwrap()).map(name).filter(|p| p.exists());
            return Ok(Answer::Rows("NAME", all.map(|p| vec![Cell::Text(p.display().to_string())]).collect()));
        }
        return one("THREAD#", vec![Cell::Text("1".into()), text(&state["archived"]), text(&state["scn"])]);
    }
    if from("v$log ") {
        return one("THREAD#", vec![Cell::Text("1".into()), text(&state["sequence"])]);
    }
    if from("v$datafile where name not like") {
        return one("FILES", vec![Cell::Number("0".into())]);
    }
    if from("v$datafile") {
        let other = ["redo01.log", "control01.ctl"].map(|n| session.instance.folder().join("data").join(n));
        let names = files.iter().map(|f| plain(&f["name"])).chain(other.iter().map(|p| p.display().to_string()));
        return Ok(Answer::Rows("NAME", names.map(|n| vec![Cell::Text(n)]).collect()));
    }
    if from("v$database") {
        return database(session, state, &lower);
    }
    Err("ORA-00942: table or view does not exist".into())
}

fn database(session: &Session, state: &Value, lower: &str) -> Result<Answer, Refused> {
    if lower.starts_with("select case when database_role in") {
        let standing = match (plain(&state["role"]).as_str(), plain(&state["open_mode"]).as_str()) {
            ("PHYSICAL STANDBY" | "FAR SYNC", _) => "STANDBY",
            (_, "MOUNTED") => "MOUNTED",
            (_, "READ WRITE") if state["log_mode"] == "NOARCHIVELOG" => "NOARCHIVELOG",
            (_, "READ WRITE") => "HELD",
            _ => "READ ONLY",
        };
        return one("STATE", vec![Cell::Text(standing.into())]);
    }
    if lower.starts_with("select case database_role") {
        let primary = state["role"] == "PRIMARY";
        return one("ROLE", vec![Cell::Text(if primary { "PRIMARY" } else { "STANDBY" }.into())]);
    }
    let name = session.instance.sid.to_uppercase();
    if lower.starts_with("select db_unique_name,") {
        let cells = ["log_mode", "role", "open_mode", "cdb"].map(|k| text(&state[k]));
        return one("DB_UNIQUE_NAME", std::iter::once(Cell::Text(name)).chain(cells).collect());
    }
    if lower.starts_with("select db_unique_name ||") {
        return one("SERIES", vec![Cell::Text(format!("{name}-{}", plain(&state["dbid"])))]);
    }
    one("DBID", ["dbid", "scn", "checkpoint", "resetlogs"].map(|k| text(&state[k])).into())
}
