//! A private MariaDB, or MySQL: a data folder and a socket of its own, no network; it is killed when it is dropped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::comparison::{Row, printed_rows};
use crate::folder;
use crate::missing::program;
use crate::newer;
use crate::program::{Ended, KillOnDrop, Running, run, start, succeed};
use crate::session::Session;
use crate::writers::{Writers, by_client};
use crate::{PATIENCE, free_port, wait_until};

/// Small, and quick to start.
const SMALL: [&str; 9] = [
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=32M",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--aria-log-file-size=8M",
    "--aria-pagecache-buffer-size=8M",
    "--key-buffer-size=1M",
    "--skip-performance-schema",
    "--skip-slave-start",
    "--max-connections=50",
];

/// Which server it is: its programs, and how its data folder is made.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The server's own program.
    pub(crate) server: PathBuf,
    /// The client.
    pub(crate) client: PathBuf,
    /// Makes a data folder, whose path comes last, of one `root` who logs in as the machine's root, or without a password.
    pub(crate) install: Vec<PathBuf>,
    /// Makes it small, and quick to start.
    pub(crate) small: &'static [&'static str],
}

impl Programs {
    /// MariaDB as Debian 12 has it. `None` where it is missing.
    pub fn debian(test: &str) -> Option<Programs> {
        Some(Programs {
            server: program(test, &["mariadbd"], "mariadb-server")?,
            client: program(test, &["mariadb"], "mariadb-client")?,
            install: installing(program(test, &["mariadb-install-db"], "mariadb-server")?),
            small: &SMALL,
        })
    }

    /// MariaDB 11. `None` where it is missing.
    pub fn newer(test: &str) -> Option<Programs> {
        let server = newer::program(test, "mariadbd")?;
        let mut install = installing(newer::program(test, "mariadb-install-db")?);
        let own = server.ancestors().nth(2).unwrap_or(&server);
        install.push(format!("--basedir={}", own.display()).into());
        Some(Programs { server, client: newer::program(test, "mariadb")?, install, small: &SMALL })
    }

    /// The folder of the client, and of the tools beside it.
    pub fn tools(&self) -> &Path {
        self.client.parent().unwrap_or(&self.client)
    }

    /// Fills a folder with a fresh data folder.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn fresh(&self, data: &Path) {
        folder::copy(&self.template(), data);
        // A name that no other server has: MySQL makes itself another one.
        let _ = std::fs::remove_file(data.join("auto.cnf"));
    }

    /// Starts a server on this data folder.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn on(&self, data: &Path, options: &[&str]) -> MariaDb {
        self.try_on(data, options).unwrap()
    }

    /// Starts a server on this data folder, which may be too broken for that.
    ///
    /// # Errors
    /// The server's own words when it ends instead of answering.
    ///
    /// # Panics
    /// When it neither ends nor answers in time.
    pub fn try_on(&self, data: &Path, options: &[&str]) -> Result<MariaDb, String> {
        MariaDb::start(self.clone(), folder::with_mode(0o777), data, options)
    }

    /// Starts a server on a folder of its own.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn private(&self, options: &[&str]) -> MariaDb {
        let own = folder::with_mode(0o777);
        let data = own.path().join("data");
        self.fresh(&data);
        MariaDb::start(self.clone(), own, &data, options).unwrap()
    }

    /// Which of both it is, as its module is named.
    fn make(&self) -> &'static str {
        if self.server.ends_with("mysqld") { "mysql" } else { "mariadb" }
    }

    /// Making one takes seconds.
    fn template(&self) -> PathBuf {
        let said = succeed(Command::new(&self.server).arg("--version"), "");
        let version = said.split_whitespace().skip_while(|w| *w != "Ver").nth(1).unwrap_or_default().replace('/', "_");
        folder::kept(&format!("{}-{version}", self.make()), |data| {
            let mut command = Command::new(&self.install[0]);
            command.args(&self.install[1..]).args(as_mysql()).args(&self.small[..4]);
            succeed(command.arg(format!("--datadir={}", data.display())), "");
        })
    }
}

/// Nobody needs this data after a loss of power.
fn installing(program: PathBuf) -> Vec<PathBuf> {
    let arguments = [
        "--no-defaults",
        "--skip-test-db",
        "--auth-root-authentication-method=socket",
        "--innodb-flush-method=nosync",
        "--innodb-flush-log-at-trx-commit=0",
    ];
    std::iter::once(program).chain(arguments.map(PathBuf::from)).collect()
}

/// A server under way.
pub struct MariaDb {
    // First: the server must have ended before its folder goes.
    server: KillOnDrop,
    own: TempDir,
    data: PathBuf,
    options: Vec<String>,
    programs: Programs,
}

/// Fills a folder with a fresh data folder of Debian's MariaDB. `None` where it is missing.
///
/// # Panics
/// When it cannot be made.
pub fn fresh(test: &str, data: &Path) -> Option<()> {
    Programs::debian(test)?.fresh(data);
    Some(())
}

/// A server does not run as root.
fn as_mysql() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=mysql")
}

fn spawn(programs: &Programs, own: &Path, data: &Path, options: &[String]) -> KillOnDrop {
    let errors = std::fs::File::options().create(true).append(true).open(own.join("errors")).unwrap();
    let mut command = Command::new(&programs.server);
    command.args(["--no-defaults", "--skip-networking"]).args(programs.small).args(as_mysql()).args(options);
    command.arg(format!("--datadir={}", data.display()));
    command.arg(format!("--socket={}", own.join("s").display()));
    command.arg(format!("--pid-file={}", own.join("pid").display()));
    command.arg(format!("--tmpdir={}", own.display()));
    command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors);
    KillOnDrop(command.spawn().unwrap())
}

impl MariaDb {
    /// Starts Debian's MariaDB on a folder of its own. `None` where it is missing.
    pub fn private(test: &str, options: &[&str]) -> Option<MariaDb> {
        Some(Programs::debian(test)?.private(options))
    }

    /// Starts a server that others can follow, at this port of this machine. `None` where MariaDB is missing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn primary(test: &str) -> Option<(MariaDb, u16)> {
        let port = free_port();
        let port_option = format!("--port={port}");
        let network = ["--skip-networking=0", "--bind-address=127.0.0.1", &port_option];
        let server = MariaDb::private(test, &[&network[..], &["--server-id=1", "--log-bin=binlog"]].concat())?;
        server.sql(
            "CREATE USER replica@'127.0.0.1' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE ON *.* TO replica@'127.0.0.1';",
        );
        Some((server, port))
    }

    /// Starts a replica of the server at this port, and waits until it follows.
    ///
    /// # Panics
    /// When it does not.
    pub fn replica(test: &str, port: u16, options: &[&str]) -> Option<MariaDb> {
        let replica = MariaDb::private(test, &[options, &["--server-id=2"]].concat())?;
        replica.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'replica', \
             MASTER_PASSWORD = 'x', MASTER_USE_GTID = slave_pos; START SLAVE;"
        ));
        wait_until("the replica follows", || replica.follows());
        Some(replica)
    }

    /// Whether it follows another server at this moment, and has done something of what that one did.
    pub fn follows(&self) -> bool {
        self.sql("SHOW STATUS LIKE 'Slave_running';").trim_end().ends_with("ON")
            && !self.sql("SELECT @@gtid_slave_pos;").trim().is_empty()
    }

    /// Starts Debian's MariaDB on this data folder.
    ///
    /// # Panics
    /// When it is missing, or does not answer in time.
    pub fn on(data: &Path, options: &[&str]) -> MariaDb {
        MariaDb::try_on(data, options).unwrap()
    }

    /// Starts Debian's MariaDB on this data folder, which may be too broken for that.
    ///
    /// # Errors
    /// The server's own words when it ends instead of answering.
    ///
    /// # Panics
    /// When it is missing, or neither ends nor answers in time.
    pub fn try_on(data: &Path, options: &[&str]) -> Result<MariaDb, String> {
        Programs::debian("a second server").expect("it was there a moment ago").try_on(data, options)
    }

    fn start(programs: Programs, own: TempDir, data: &Path, options: &[&str]) -> Result<MariaDb, String> {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        let server = spawn(&programs, own.path(), data, &options);
        MariaDb { server, own, data: data.to_owned(), options, programs }.answering()
    }

    fn answering(mut self) -> Result<MariaDb, String> {
        let mut ended = false;
        wait_until("the server answers", || {
            ended = self.server.0.try_wait().unwrap().is_some();
            ended || self.try_sql("SELECT 1;").code == Some(0)
        });
        if ended { Err(format!("the server ended: {}", self.errors())) } else { Ok(self) }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on the same data and socket, after [`MariaDb::kill`].
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    pub fn start_again(mut self) -> MariaDb {
        self.kill();
        self.server = spawn(&self.programs, self.own.path(), &self.data, &self.options);
        self.answering().unwrap()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Opens a session.
    pub fn open(&self) -> Session {
        Session::open(&mut self.client())
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.own.path().join("s")
    }

    /// A section of `workload.conf` that reaches it as root, with more lines.
    pub fn configuration(&self, more: &str) -> String {
        format!(
            "[workload]\nworkload_name = {}\n{}credString = -u root --socket={}\n{more}",
            self.programs.make(),
            newer::command_path(&self.programs.client),
            self.socket().display()
        )
    }

    /// Its error log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.own.path().join("errors")).unwrap_or_default()
    }

    /// Runs statements as root, whatever comes of it.
    pub fn try_sql(&self, text: &str) -> Ended {
        run(&mut self.client(), text)
    }

    /// Runs statements as root; gives the rows as lines.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, text: &str) -> String {
        succeed(&mut self.client(), text)
    }

    /// A session of root that holds what these statements hold.
    ///
    /// # Panics
    /// When one fails.
    pub fn hold(&self, text: &str) -> Session {
        let mut session = self.open();
        session.say(&format!("{text};"));
        session
    }

    /// A session of root that is busy with this statement. Dropped, it goes on in the server.
    ///
    /// # Panics
    /// When it is not seen there.
    pub fn busy_with(&self, text: &str) -> Running {
        let running = start(self.client().arg("--execute").arg(text), "");
        let seen = text.replace('\'', "''");
        let seen = format!("SELECT 1 FROM information_schema.processlist WHERE info = '{seen}';");
        wait_until("the statement runs", || !self.sql(&seen).is_empty());
        running
    }

    /// Waits until a `SELECT SLEEP` has run for so long, and a transaction has been open for as long.
    ///
    /// # Panics
    /// When there is none of them.
    pub fn wait_for_the_age_of_both(&self, age: Duration) {
        let both = format!(
            "SELECT COUNT(*) FROM information_schema.processlist AS p JOIN information_schema.innodb_trx AS t \
             ON t.trx_started < NOW() - INTERVAL {0} SECOND WHERE p.info LIKE 'SELECT SLEEP%' AND p.time > {0};",
            age.as_secs()
        );
        let began = Instant::now();
        while self.sql(&both).trim() == "0" {
            assert!(began.elapsed() < age + PATIENCE, "neither is so old");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn client(&self) -> Command {
        let mut command = Command::new(&self.programs.client);
        command.args(["--no-defaults", "--batch", "--unbuffered", "--skip-column-names", "--user=root"]);
        command.arg(format!("--socket={}", self.socket().display()));
        command
    }

    /// Makes the table that the writers fill.
    pub fn make_table(&self) {
        self.sql(
            "CREATE DATABASE app; CREATE TABLE app.writes \
             (writer INT UNSIGNED, sequence BIGINT UNSIGNED, PRIMARY KEY (writer, sequence)) ENGINE = InnoDB;",
        );
    }

    /// Starts writers: each an open client, which commits row after row.
    ///
    /// # Panics
    /// When a client cannot be started.
    pub fn writers(&self, count: u32) -> Writers {
        self.writers_into(count, "app.writes")
    }

    /// The same, into another table of the same columns.
    ///
    /// # Panics
    /// When a client cannot be started.
    pub fn writers_into(&self, count: u32, table: &'static str) -> Writers {
        Writers::start(count, |writer, _| by_client(self.client(), table, writer))
    }

    /// The rows that it holds, after a check of the table.
    ///
    /// # Panics
    /// When the check fails.
    pub fn rows(&self) -> BTreeSet<Row> {
        self.rows_of("app.writes")
    }

    /// The same, of another table of the same columns.
    ///
    /// # Panics
    /// When the check fails.
    pub fn rows_of(&self, table: &str) -> BTreeSet<Row> {
        let check = self.sql(&format!("CHECK TABLE {table} EXTENDED;"));
        assert!(check.trim_end().ends_with("status\tOK"), "CHECK TABLE says: {check}");
        let text = self.sql(&format!("SELECT writer, sequence FROM {table};"));
        printed_rows(text.lines(), '\t')
    }
}
