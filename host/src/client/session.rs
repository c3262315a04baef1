//! One client that stays connected over pipes: the session is the lock for most databases.
//!
//! A statement is sent with its end, followed by one that prints a tag nobody else can know. The answer is all that
//! comes before the tag. A client that hangs costs its own session and nothing else: every wait here has a deadline,
//! and can be dropped at any point.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use regex_lite::Regex;
use stillpoint_contract::manifest::{Client, Column, Printed, Rows};
use stillpoint_contract::message::{self, DatabaseError, StatementError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::answer;
use super::credential::{self, Told};
use super::reach::Reach;
use crate::config::Secret;
use crate::fault::{Exit, Fault};
use crate::sys::cgroup;
use crate::sys::launch::{Launch, spawn};
use crate::sys::process::{self, ProcessId};

/// How long after its first error a client may take to show that it is connected all the same.
const REFUSED: Duration = Duration::from_secs(1);

/// Most rows and bytes of one answer.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Rows.
    pub rows: usize,
    /// Bytes.
    pub bytes: usize,
}

/// A client that is connected.
pub struct Session {
    child: Child,
    /// Which process it is.
    pub process: ProcessId,
    /// The control group of its own, where it has one.
    pub group: Option<PathBuf>,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
    printed: Vec<u8>,
    said: Vec<u8>,
    tags: u64,
    /// What nobody can guess in our tags.
    nonce: String,
    /// What the client wants to read before anything else.
    password: Option<Secret>,
    /// The tag that has not come yet.
    open: Option<String>,
    lost: Option<String>,
    /// What the client is told before the first statement.
    first: Option<Secret>,
    client: Client,
    error: Regex,
    most: Most,
}

/// Starts the client. Whether it could log in shows with the first statement.
///
/// # Errors
/// `SP-CLIENT-…`.
pub fn open(reach: &Reach, secret: Option<&Secret>, database: Option<&str>, most: Most) -> Result<Session, Fault> {
    let client = &reach.client;
    let broken = |what: String| Fault::new("SP-CLIENT-005", Exit::NotFrozen, what).of(&reach.workload);
    let error = Regex::new(&client.error).map_err(|e| {
        Fault::new(
            "SP-CLIENT-006",
            Exit::Untrusted,
            format!("the module's error pattern is no regular expression: {e}."),
        )
        .of(&reach.workload)
    })?;
    let mut told = match &client.login {
        Some(way) => credential::login(reach, secret, way)?,
        None => Told::default(),
    };
    if !client.setup.is_empty() {
        let before = told.lines.as_ref().map(Secret::expose).unwrap_or_default();
        told.lines = Some(Secret::of(format!("{before}{}\n", client.setup.join("\n"))));
    }
    let database = format!("{}{}", told.server, database.unwrap_or_default());
    let mut arguments = told.arguments;
    arguments.extend(client.arguments.iter().map(|a| a.replace("{database}", &database)));
    let group = cgroup::make();
    let launch = Launch {
        program: reach.program.clone(),
        arguments,
        environment: reach.environment.clone(),
        ids: Some(reach.user.clone()),
        keep: told.file.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect(),
        parent: std::process::id().cast_signed(),
        group: group.clone(),
        walls: None,
    };
    let inherit: Vec<_> = told.file.iter().map(AsFd::as_fd).collect();
    let mut child = spawn(&launch, Stdio::piped(), Stdio::piped(), Stdio::piped(), &inherit)
        .map_err(|e| broken(format!("the client could not be started: {e}.")))?;
    let process = child.id().and_then(|pid| ProcessId::of(pid.cast_signed()));
    let (Some(process), Some(stdin), Some(stdout), Some(stderr)) =
        (process, child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(broken("the client ended as soon as it was started.".into()));
    };
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|e| broken(format!("no random numbers: {e}.")))?;
    Ok(Session {
        child,
        process,
        group,
        stdin: Some(stdin),
        stdout,
        stderr,
        printed: Vec::with_capacity(64 * 1024),
        said: Vec::with_capacity(4096),
        tags: 0,
        nonce: hex::encode(nonce),
        password: told.password,
        open: None,
        lost: None,
        first: told.lines,
        client: client.clone(),
        error,
        most,
    })
}

impl Session {
    /// Whether a statement was sent whose end has not been seen.
    pub fn is_busy(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the session is known to be gone.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Waits for an answer to nothing: whether the client is connected.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn touch(&mut self, deadline: Instant) -> Result<(), StatementError> {
        self.send("", deadline).await.map(drop)
    }

    /// Runs one statement, already rendered, and reads its rows.
    ///
    /// # Errors
    /// [`StatementError`]; after `TimedOut` the statement may still be running, and the session is busy.
    pub async fn run(
        &mut self,
        text: &str,
        columns: &[Column],
        deadline: Instant,
    ) -> Result<message::Rows, StatementError> {
        let end = &self.client.end;
        let printed = self.send(&format!("{text}{end}\n"), deadline).await?;
        let printed = printed.ok_or(StatementError::TooLarge)?;
        answer::parse(self.client.rows, &printed, columns, self.most.rows)
    }

    /// Runs one statement whose rows nobody reads: that it was answered without an error is its acknowledgement.
    ///
    /// # Errors
    /// [`StatementError`]; after `TimedOut` the statement may still be running, and the session is busy.
    pub async fn execute(&mut self, text: &str, deadline: Instant) -> Result<(), StatementError> {
        let end = &self.client.end;
        self.send(&format!("{text}{end}\n"), deadline).await.map(drop)
    }

    /// Sends lines and reads what is printed before the tag; `None` if that was more than the limit.
    async fn send(&mut self, lines: &str, deadline: Instant) -> Result<Option<Vec<u8>>, StatementError> {
        self.settle(deadline).await?;
        // What is printed until then are greetings, of the client and of whoever configured it.
        if let Some(first) = self.first.clone() {
            if let Err(error) = self.exchange(first.expose(), deadline).await {
                // Neither logged in nor set: nothing more may be sent to it.
                self.gone(&error.to_string());
                return Err(error);
            }
            self.first = None;
        }
        self.exchange(lines, deadline).await
    }

    async fn exchange(&mut self, lines: &str, deadline: Instant) -> Result<Option<Vec<u8>>, StatementError> {
        self.tags += 1;
        let tag = format!("stillpoint-{}-{}", self.nonce, self.tags);
        let ask = self.client.tag.replace("{tag}", &tag);
        let end = &self.client.end;
        let sent = match self.client.rows {
            // The first COMMIT belongs to the statement: its error comes before the tag.
            Rows::List => {
                let first = if self.tags == 1 { format!("SET LIST ON{end}\n") } else { String::new() };
                format!("{first}{lines}COMMIT{end}\n{ask}{end}\nCOMMIT{end}\n")
            }
            _ => format!("{lines}{ask}{end}\n"),
        };
        let sent = Zeroizing::new(match self.password.take() {
            Some(password) => format!("{}\n{sent}", password.expose()),
            None => sent,
        });
        self.printed.clear();
        self.said.clear();
        // From here on the outcome is unknown until the tag has come.
        self.open = Some(tag);
        let Some(stdin) = self.stdin.as_mut() else { return Err(self.gone("its input is closed")) };
        match timeout_at(deadline, stdin.write_all(sent.as_bytes())).await {
            Err(_) => return Err(StatementError::TimedOut),
            Ok(Err(_)) => {
                self.last_words().await;
                return Err(self.gone("it ended"));
            }
            Ok(Ok(())) => {}
        }
        let printed = self.read_to_tag(deadline).await?;
        if printed.is_none() && self.client.errors == Printed::StandardOutput {
            // An error may be among what was too much to keep.
            return Err(StatementError::TooLarge);
        }
        if let Some(error) = self.errors().into_iter().next() {
            if self.client.lost.contains(&error.code) {
                return Err(self.gone(&error.to_string()));
            }
            return Err(StatementError::Failed(error));
        }
        Ok(printed)
    }

    /// Waits until the statement that timed out has ended. Its answer is thrown away.
    ///
    /// # Errors
    /// `TimedOut`, `Lost`.
    pub async fn settle(&mut self, deadline: Instant) -> Result<(), StatementError> {
        if let Some(why) = &self.lost {
            return Err(StatementError::Lost(why.clone()));
        }
        if self.open.is_some() {
            self.read_to_tag(deadline).await?;
        }
        Ok(())
    }

    /// Ends the client: politely, then for good.
    pub async fn close(mut self) {
        drop(self.stdin.take());
        if timeout(Duration::from_millis(500), self.child.wait()).await.is_err() {
            self.kill(Duration::from_millis(500)).await;
        }
    }

    /// Lets the client come to the end of what it was told, up to `longest`.
    pub async fn finish(mut self, longest: Duration) {
        drop(self.stdin.take());
        let _ = timeout(longest, self.child.wait()).await;
        self.close().await;
    }

    /// Kills the client and waits until it is gone, up to `longest`.
    pub async fn kill(&mut self, longest: Duration) -> bool {
        self.lost.get_or_insert_with(|| "we ended it".into());
        // A client may be a script that started the real one.
        process::kill_all(self.process.pid, self.group.as_deref());
        let _ = self.child.start_kill();
        let ended = async {
            let waited = self.child.wait().await.is_ok();
            while !process::all_are_gone(self.process.pid, self.group.as_deref()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            waited
        };
        timeout(longest, ended).await.unwrap_or(false)
    }

    /// Whether the client runs and has this file open, itself or a process that it started.
    pub fn has_open(&self, device: u64, inode: u64) -> bool {
        process::has_open(self.process.pid, self.group.as_deref(), device, inode)
    }

    /// Everything printed before the tag; `None` if that was more than the limit.
    async fn read_to_tag(&mut self, mut deadline: Instant) -> Result<Option<Vec<u8>>, StatementError> {
        let mut refused = false;
        let Some(tag) = self.open.clone() else { return Ok(Some(Vec::new())) };
        let mut too_large = false;
        loop {
            let found = match self.client.rows {
                Rows::List => find_named_tag(&self.printed, tag.as_bytes()),
                _ => find_tag(&self.printed, tag.as_bytes()),
            };
            if let Some(end) = found {
                let answer = self.printed[..end].to_vec();
                self.open = None;
                self.drain_errors();
                return Ok((!too_large).then_some(answer));
            }
            if self.printed.len() > self.most.bytes {
                too_large = true;
                // The tag may be cut in two by what was read last: keep the last lines.
                let keep = self.printed.len().saturating_sub(2 * tag.len());
                self.printed.drain(..keep);
            }
            if self.said.len() > 64 * 1024 {
                self.said.truncate(64 * 1024);
            }
            let read = timeout_at(deadline, async {
                tokio::select! {
                    biased;
                    n = self.stdout.read_buf(&mut self.printed) => (true, n),
                    n = self.stderr.read_buf(&mut self.said) => (false, n),
                }
            })
            .await;
            match read {
                Err(_) if refused => return Err(self.gone("it did not connect")),
                Err(_) => return Err(StatementError::TimedOut),
                Ok((true, Ok(0) | Err(_))) => {
                    self.last_words().await;
                    return Err(self.gone("it ended"));
                }
                Ok((false, Ok(0) | Err(_))) => {
                    // Its errors can no longer be read: not a client that can be trusted to hold.
                    return Err(self.gone("it closed its standard error"));
                }
                Ok((false, Ok(_))) => {
                    let lost = |e: &DatabaseError| self.client.lost.contains(&e.code);
                    if let Some(mut error) = self.errors().into_iter().find(lost) {
                        if error.message.is_empty() || !self.said.ends_with(b"\n") {
                            // It stands on the lines behind, or the line has not come to its end.
                            self.last_words().await;
                            error = self.errors().into_iter().find(|e| e.code == error.code).unwrap_or(error);
                        }
                        return Err(self.gone(&error.to_string()));
                    }
                    // isql that could not log in says so, lives on and answers nothing: behind any other error of a first
                    // statement comes the tag.
                    if self.client.rows == Rows::List && self.tags == 1 && !refused && !self.errors().is_empty() {
                        refused = true;
                        deadline = deadline.min(Instant::now() + REFUSED);
                    }
                }
                // Where errors are printed among the answers, one may be the last thing that is said.
                Ok((true, Ok(_))) if self.client.errors == Printed::StandardOutput => {
                    if let Some(error) = self.errors().into_iter().find(|e| self.client.lost.contains(&e.code)) {
                        // What it was refused for was said before that, elsewhere.
                        self.last_words().await;
                        return Err(self.gone(&error.to_string()));
                    }
                }
                Ok((true, Ok(_))) => {}
            }
        }
    }

    /// Takes what is on standard error now, without waiting: it was written before the tag.
    fn drain_errors(&mut self) {
        use std::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..16 {
            let mut chunk = [0; 4096];
            let mut buffer = tokio::io::ReadBuf::new(&mut chunk);
            match tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.stderr), &mut context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.said.extend_from_slice(buffer.filled()),
                _ => return,
            }
        }
    }

    /// What a client that ends says last.
    async fn last_words(&mut self) {
        let _ = timeout(Duration::from_millis(200), self.stderr.read_to_end(&mut self.said)).await;
    }

    fn errors(&self) -> Vec<DatabaseError> {
        let mut out = errors(&self.error, &self.said);
        if self.client.errors == Printed::StandardOutput {
            out.extend(errors(&self.error, &self.printed));
        }
        out
    }

    /// The session is gone: with the database's own words where it said some.
    fn gone(&mut self, why: &str) -> StatementError {
        self.open = None;
        let why = match self.errors().into_iter().next() {
            Some(error) => error.to_string(),
            None => match String::from_utf8_lossy(&self.said).lines().next() {
                // Never the whole of it: standard error echoes statements.
                Some(line) => format!("{why}: {}", line.chars().take(200).collect::<String>()),
                None => why.to_owned(),
            },
        };
        let why = self.lost.get_or_insert(why).clone();
        process::kill_all(self.process.pid, self.group.as_deref());
        let _ = self.child.start_kill();
        StatementError::Lost(why)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let _ = cgroup::kill(group);
            cgroup::remove(group);
        }
    }
}

/// Most bytes of a message that stands on several lines.
const LONG: usize = 400;

/// The database's errors among the lines that a client printed: those that this pattern of the manifest's knows.
/// Where it has no group `message`, the lines that follow are the message, to the next error.
pub fn errors(pattern: &Regex, said: &[u8]) -> Vec<DatabaseError> {
    let mut out: Vec<DatabaseError> = Vec::new();
    let follows = !pattern.capture_names().flatten().any(|name| name == "message");
    for line in String::from_utf8_lossy(said).lines() {
        if let Some(found) = pattern.captures(line) {
            let group = |name| found.name(name).map_or("", |m| m.as_str()).to_owned();
            out.push(DatabaseError { code: group("code"), state: group("state"), message: group("message") });
        } else if let Some(error) = out.last_mut()
            && follows
            && error.message.len() + line.len() < LONG
        {
            let joint = if error.message.is_empty() { "" } else { ": " };
            error.message.push_str(&format!("{joint}{}", line.trim_start_matches('-').trim_end()));
        }
    }
    out
}

/// Where the tag begins, once it is the last line: nothing is printed after it until the next statement is sent.
pub fn find_tag(printed: &[u8], tag: &[u8]) -> Option<usize> {
    let line = printed.strip_suffix(b"\n")?;
    // What prints it may print the statement's end, too.
    let line = line.strip_suffix(b";").unwrap_or(line);
    let quote = match line.last() {
        Some(quote @ (b'\'' | b'"')) => &[*quote][..],
        _ => &[],
    };
    let before = line.strip_suffix(quote)?.strip_suffix(tag)?.strip_suffix(quote)?;
    (before.is_empty() || before.ends_with(b"\n")).then_some(before.len())
}

/// Where the line with the tag begins, where a name stands before it: `isql` prints an empty line behind each row, so the
/// tag is the last line but for empty ones.
fn find_named_tag(printed: &[u8], tag: &[u8]) -> Option<usize> {
    // A line that is not at its end may go on.
    let lines = printed.strip_suffix(b"\n")?.trim_ascii_end();
    let name = lines.strip_suffix(tag)?;
    let begin = name.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let name = &name[begin..];
    (name.starts_with(b"CONSTANT ") && name.len() == 32).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As isql 3.0 printed it.
    #[test]
    fn an_error_of_several_lines_is_told_in_one() {
        let said = "Statement failed, SQLSTATE = 42000\nunsuccessful metadata update\n-ALTER DATABASE failed\n\
                    -Database is already in the physical backup mode\nStatement failed, SQLSTATE = 08006\nError\n";
        let pattern = Regex::new("^Statement failed, SQLSTATE = (?<code>[0-9A-Z]{5})$").unwrap();
        let [first, second] = errors(&pattern, said.as_bytes()).try_into().unwrap();
        assert_eq!((first.code.as_str(), second.code.as_str(), second.message.as_str()), ("42000", "08006", "Error"));
        assert_eq!(
            first.message,
            "unsuccessful metadata update: ALTER DATABASE failed: Database is already in the physical backup mode"
        );
    }

    #[test]
    fn a_tag_behind_its_name_is_found_on_the_last_line_alone() {
        let line = format!("{:<32}tag-1\n", "CONSTANT");
        let before = format!("\n{:<32}1\n\n\n", "N");
        for behind in ["", "\n", "\n\n"] {
            let printed = format!("{before}\n{line}{behind}");
            assert_eq!(find_named_tag(printed.as_bytes(), b"tag-1"), Some(before.len() + 1));
        }
        for printed in [&line[..line.len() - 1], "tag-1\n", &format!("{line}x\n"), &line.replace("CON", "OTH")] {
            assert_eq!(find_named_tag(printed.as_bytes(), b"tag-1"), None, "{printed:?}");
        }
    }
}
