//! A private PostgreSQL: a data folder and a socket of its own, no network; it is killed when it is dropped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

use crate::comparison::{Row, printed_rows};
use crate::folder;
use crate::missing::{find, program};
use crate::newer;
use crate::program::{Ended, run, succeed};
use crate::wait_until;
use crate::writers::{Writers, by_client};

/// Small, and quick to start.
const SMALL: [&str; 4] =
    ["-cshared_buffers=16MB", "-cmax_connections=30", "-clisten_addresses=", "-cunix_socket_permissions=0777"];

/// The programs of one version of PostgreSQL.
#[derive(Debug, Clone)]
pub struct Programs {
    server: PathBuf,
    client: PathBuf,
    initdb: PathBuf,
}

impl Programs {
    /// PostgreSQL as Debian 12 has it. `None` where it is missing.
    pub fn debian(test: &str) -> Option<Programs> {
        Some(Programs {
            server: program(test, &["postgres"], "postgresql-15")?,
            client: program(test, &["psql"], "postgresql-client-15")?,
            initdb: program(test, &["initdb"], "postgresql-15")?,
        })
    }

    /// PostgreSQL 18. `None` where it is missing.
    pub fn newer(test: &str) -> Option<Programs> {
        Some(Programs {
            server: newer::program(test, "postgres")?,
            client: newer::program(test, "psql")?,
            initdb: newer::program(test, "initdb")?,
        })
    }

    /// Fills a folder with a fresh data folder, whose superuser is `postgres`, by its socket.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn fresh(&self, data: &Path) {
        folder::copy(&template(&self.initdb), data);
    }

    /// Starts a server on this data folder, as [`Postgres::on`] does.
    pub fn on(&self, data: &Path, settings: &[&str]) -> Postgres {
        Postgres::start(self.clone(), folder::with_mode(0o777), data, settings)
    }
}

/// A server under way.
pub struct Postgres {
    // First: the server must have ended before its folder goes.
    server: Server,
    programs: Programs,
    own: TempDir,
    data: PathBuf,
    options: Vec<String>,
}

struct Server(Child);

impl Server {
    /// As a crash ends it: at once, and without a checkpoint.
    fn crash(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none())
            && let Ok(pid) = i32::try_from(self.0.id())
        {
            // SIGKILL would leave its children, which hold the data folder.
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Fills a folder with a fresh data folder, whose superuser is `postgres`, by its socket. `None` where PostgreSQL is
/// missing.
///
/// # Panics
/// When it cannot be made.
pub fn fresh(test: &str, data: &Path) -> Option<()> {
    Programs::debian(test)?.fresh(data);
    Some(())
}

/// Making one takes a second.
fn template(initdb: &Path) -> PathBuf {
    let version = succeed(Command::new(initdb).arg("--version"), "");
    let version = version.split_whitespace().nth(2).unwrap_or_default();
    folder::kept(&format!("postgres-{version}"), |data| {
        let mut command = as_postgres(initdb);
        command.args(["--auth-local=peer", "--auth-host=scram-sha-256", "--username=postgres", "--encoding=UTF8"]);
        command.args(["--locale=C.UTF-8", "--no-sync", "--wal-segsize=1", "--pgdata"]);
        succeed(command.arg(data), "");
    })
}

/// A server does not run as root, and `peer` wants its own user.
fn as_postgres(program: &Path) -> Command {
    let mut command = match User::from_name("postgres").ok().flatten().filter(|_| nix::unistd::geteuid().is_root()) {
        Some(_) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir("/").env_remove("PGDATA").env_remove("PGHOST").env_remove("PGOPTIONS");
    command
}

fn spawn(server: &Path, own: &Path, data: &Path, options: &[String]) -> Server {
    let errors = std::fs::File::options().create(true).append(true).open(own.join("errors")).unwrap();
    let mut command = as_postgres(server);
    command.args(SMALL).args(options).arg("-D").arg(data).arg("-k").arg(own);
    command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors);
    Server(command.spawn().unwrap())
}

impl Postgres {
    /// Starts a server on a folder of its own, with settings such as `fsync=off`. `None` where PostgreSQL is missing.
    pub fn private(test: &str, settings: &[&str]) -> Option<Postgres> {
        let own = folder::with_mode(0o777);
        let data = own.path().join("data");
        let programs = Programs::debian(test)?;
        programs.fresh(&data);
        Some(Postgres::start(programs, own, &data, settings))
    }

    /// Starts a standby that follows this server.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn standby(primary: &Postgres) -> Postgres {
        let own = folder::with_mode(0o777);
        let data = own.path().join("data");
        let tool = find(&["pg_basebackup"]).expect("it comes with psql");
        let mut copy = as_postgres(&tool);
        copy.args(["-U", "postgres", "-X", "stream", "-c", "fast", "--write-recovery-conf", "-h"]);
        succeed(copy.arg(primary.socket()).arg("-D").arg(&data), "");
        Postgres::start(primary.programs.clone(), own, &data, &[])
    }

    /// Starts a server on this data folder. What a crash or a snapshot left of another one there is no hindrance.
    pub fn on(data: &Path, settings: &[&str]) -> Postgres {
        Programs::debian("a server that was there a moment ago").unwrap().on(data, settings)
    }

    fn start(programs: Programs, own: TempDir, data: &Path, settings: &[&str]) -> Postgres {
        // In a snapshot: of the server that still runs beside it, on another folder.
        let _ = std::fs::remove_file(data.join("postmaster.pid"));
        let options: Vec<String> = settings.iter().map(|s| format!("-c{s}")).collect();
        let server = spawn(&programs.server, own.path(), data, &options);
        Postgres { server, programs, own, data: data.to_owned(), options }.answering()
    }

    fn answering(mut self) -> Postgres {
        wait_until("PostgreSQL answers", || {
            let ended = self.server.0.try_wait().unwrap();
            assert!(ended.is_none(), "PostgreSQL ended: {}", self.errors());
            self.try_sql("SELECT 1;").code == Some(0)
        });
        self
    }

    /// Ends it as a crash does.
    pub fn crash(&mut self) {
        self.server.crash();
    }

    /// Starts it again on the same data and socket.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    pub fn start_again(mut self) -> Postgres {
        self.crash();
        self.server = spawn(&self.programs.server, self.own.path(), &self.data, &self.options);
        self.answering()
    }

    /// The folder in which it listens.
    pub fn socket(&self) -> &Path {
        self.own.path()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A section of `workload.conf` that reaches it as its superuser, with more lines.
    pub fn configuration(&self, more: &str) -> String {
        format!(
            "[workload]\nworkload_name = postgres\nlinux_user = postgres\n{}credString = -u postgres --socket={}\n{more}",
            newer::command_path(&self.programs.client),
            self.socket().display()
        )
    }

    /// Its error log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.own.path().join("errors")).unwrap_or_default()
    }

    /// Runs statements as the superuser, whatever comes of it.
    pub fn try_sql(&self, text: &str) -> Ended {
        run(&mut self.client(), text)
    }

    /// Runs statements as the superuser; gives the rows as lines.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, text: &str) -> String {
        succeed(&mut self.client(), text)
    }

    fn client(&self) -> Command {
        let mut command = as_postgres(&self.programs.client);
        command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        command.arg("-h").arg(self.socket());
        command
    }

    /// Makes the table that the writers fill.
    pub fn make_table(&self) {
        self.sql("CREATE TABLE writes (writer integer, sequence bigint, PRIMARY KEY (writer, sequence));");
    }

    /// Starts writers: each an open client, which commits row after row.
    ///
    /// # Panics
    /// When a client cannot be started.
    pub fn writers(&self, count: u32) -> Writers {
        Writers::start(count, |writer, _| by_client(self.client(), "writes", writer))
    }

    /// The rows that it holds, after a look at each page of the table and its index.
    ///
    /// # Panics
    /// When they contradict each other.
    pub fn rows(&self) -> BTreeSet<Row> {
        let by_index =
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM writes WHERE writer >= 0;";
        let text = self.sql("SELECT writer, sequence FROM writes;");
        assert_eq!(self.sql(by_index).trim(), text.lines().count().to_string(), "the index and the table differ");
        printed_rows(text.lines(), '|')
    }

    /// The processes that hold the backup mode, by what they ran last.
    pub fn in_backup(&self) -> Vec<i64> {
        let text = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stillpoint';";
        self.sql(text).lines().filter_map(|l| l.parse().ok()).collect()
    }
}
