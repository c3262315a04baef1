//! A private Redis, or Valkey: a data folder and a socket of its own, no network; it is killed when it is dropped.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::comparison::Row;
use crate::folder;
use crate::missing::program;
use crate::program::{Ended, KillOnDrop, run, succeed};
use crate::wait_until;
use crate::writers::{Write, Writers};

/// The server and the client of one make.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `redis-server` or `valkey-server`.
    pub server: PathBuf,
    /// `redis-cli` or `valkey-cli`.
    pub client: PathBuf,
}

impl Programs {
    /// Debian's. `None` where they are missing.
    pub fn find(test: &str) -> Option<Programs> {
        Some(Programs {
            server: program(test, &["redis-server"], "redis-server")?,
            client: program(test, &["redis-cli"], "redis-tools")?,
        })
    }

    /// Valkey 9. `None` where it is missing.
    pub fn newer(test: &str) -> Option<Programs> {
        Some(Programs {
            server: crate::newer::program(test, "valkey-server")?,
            client: crate::newer::program(test, "valkey-cli")?,
        })
    }
}

/// A server under way.
pub struct Redis {
    // First: the server must have ended before its folder goes.
    server: KillOnDrop,
    own: TempDir,
    data: PathBuf,
    programs: Programs,
}

/// A server's settings, as on its command line without the dashes.
pub type Settings<'s> = &'s [(&'s str, &'s str)];

impl Redis {
    /// Starts a server on a folder of its own, with settings such as `appendonly yes`. `None` where it is missing.
    pub fn private(test: &str, settings: Settings<'_>) -> Option<Redis> {
        let programs = Programs::find(test)?;
        let own = folder::with_mode(0o755);
        let data = own.path().join("data");
        Some(Redis::start(&programs, own, &data, settings, &[]))
    }

    /// Starts a server on this data folder, which is made where it is not there.
    pub fn on(programs: &Programs, data: &Path, settings: Settings<'_>) -> Redis {
        Redis::start(programs, folder::with_mode(0o755), data, settings, &[])
    }

    /// The same, with variables of the environment.
    pub fn with(programs: &Programs, data: &Path, settings: Settings<'_>, environment: &[(&str, &Path)]) -> Redis {
        Redis::start(programs, folder::with_mode(0o755), data, settings, environment)
    }

    fn start(
        programs: &Programs,
        own: TempDir,
        data: &Path,
        settings: Settings<'_>,
        environment: &[(&str, &Path)],
    ) -> Redis {
        std::fs::create_dir_all(data).unwrap();
        let errors = std::fs::File::options().create(true).append(true).open(own.path().join("errors")).unwrap();
        let mut command = Command::new(&programs.server);
        // None but what is asked for: without `save` a dump is made when somebody says so.
        command.args(["--port", "0", "--save", "", "--unixsocketperm", "777"]);
        command.arg("--unixsocket").arg(own.path().join("socket")).arg("--dir").arg(data);
        for (name, value) in settings {
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors);
        let server = KillOnDrop(command.spawn().unwrap());
        let mut out = Redis { server, own, data: data.to_owned(), programs: programs.clone() };
        wait_until("the server answers", || {
            let ended = out.server.0.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {}", out.errors());
            out.try_say("PING").stdout == "PONG\n"
        });
        out
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.own.path().join("socket")
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it is made of.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Its log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.own.path().join("errors")).unwrap_or_default()
    }

    /// Sends its process a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.server.0.id()).unwrap()), signal).unwrap();
    }

    /// A section of `workload.conf` that reaches it without a password, with more lines.
    pub fn configuration(&self, more: &str) -> String {
        format!(
            "[workload]\nworkload_name = redis\ncredString = --socket={}\n{}{more}",
            self.socket().display(),
            crate::newer::command_path(&self.programs.client)
        )
    }

    /// Says one line to it, whatever comes of it.
    pub fn try_say(&self, line: &str) -> Ended {
        run(Command::new(&self.programs.client).arg("-s").arg(self.socket()), &format!("{line}\n"))
    }

    /// Says lines to it, and gives what it answers.
    ///
    /// # Panics
    /// When it answers with an error.
    pub fn say(&self, lines: &str) -> String {
        let said =
            succeed(Command::new(&self.programs.client).args(["-e", "-s"]).arg(self.socket()), &format!("{lines}\n"));
        assert!(!said.starts_with("ERR ") && !said.contains("\nERR "), "{lines}: {said}");
        said
    }

    /// A line of `INFO`.
    ///
    /// # Panics
    /// When there is none.
    pub fn info(&self, name: &str) -> String {
        let all = self.say("INFO all");
        let mut lines = all.lines().filter_map(|l| l.trim_end().split_once(':'));
        lines.find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}: {all}")).1.to_owned()
    }

    /// Starts writers: each an open connection, which appends one number after the other to a list of its own.
    pub fn writers(&self, count: u32) -> Writers {
        Writers::start(count, |writer, _| self.writer(writer))
    }

    fn writer(&self, writer: u32) -> Write {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let key = format!("writes:{writer}");
        Box::new(move |sequence| {
            let (length, number) = (key.len(), sequence.to_string());
            let text = format!("*3\r\n$5\r\nRPUSH\r\n${length}\r\n{key}\r\n${}\r\n{number}\r\n", number.len());
            stream.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
            let mut answer = String::new();
            answers.read_line(&mut answer).map_err(|e| e.to_string())?;
            if answer.trim_end() == format!(":{number}") { Ok(()) } else { Err(format!("answered {answer:?}")) }
        })
    }

    /// What the writers wrote, as it stands there.
    ///
    /// # Panics
    /// When it holds what no writer wrote.
    pub fn rows(&self) -> BTreeSet<Row> {
        let mut out = BTreeSet::new();
        for key in self.say("KEYS writes:*").lines().filter(|k| !k.is_empty()) {
            let writer = key.strip_prefix("writes:").unwrap().parse().unwrap();
            out.extend(self.say(&format!("LRANGE {key} 0 -1")).lines().map(|n| (writer, n.parse().unwrap())));
        }
        out
    }
}
