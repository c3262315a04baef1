//! A private MariaDB: a data folder and a socket of its own, no network; it is killed when it is dropped.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::comparison::Row;
use crate::dist;
use crate::missing::{find, program};
use crate::program::{Ended, run, succeed};
use crate::wait_until;
use crate::writers::{Session, Writers, by_client};

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

/// A server under way.
pub struct MariaDb {
    // First: the server must have ended before its folder goes.
    server: Server,
    own: TempDir,
    data: PathBuf,
    options: Vec<String>,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fills a folder with a fresh data folder of one `root` who logs in as the machine's root. `None` where MariaDB is
/// missing.
///
/// # Panics
/// When it cannot be made.
pub fn fresh(test: &str, data: &Path) -> Option<()> {
    program(test, &["mariadbd"], "mariadb-server")?;
    program(test, &["mariadb"], "mariadb-client")?;
    let template = template(&program(test, &["mariadb-install-db"], "mariadb-server")?);
    succeed(
        Command::new("cp").args(["--archive", "--sparse=always", "--no-target-directory"]).arg(template).arg(data),
        "",
    );
    Some(())
}

/// Making one takes seconds, so it is made once and kept with what cargo built.
fn template(install: &Path) -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version =
            succeed(Command::new(find(&["mariadbd"]).expect("it was there a moment ago")).arg("--version"), "");
        let version = version.split_whitespace().nth(2).unwrap_or_default().replace('/', "_");
        let kept = dist::target().join("stillpoint-tests").join(format!("mariadb-{version}"));
        if kept.is_dir() {
            return kept;
        }
        let folder = open_folder();
        let data = folder.path().join("data");
        let mut command = Command::new(install);
        command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
        command.args(as_mysql()).args(&SMALL[..4]);
        // Nobody needs this one after a loss of power.
        command.arg("--innodb-flush-method=nosync").arg("--innodb-flush-log-at-trx-commit=0");
        succeed(command.arg(format!("--datadir={}", data.display())), "");
        let new = kept.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(kept.parent().expect("a folder in a folder")).unwrap();
        copy(&data, &new);
        if std::fs::rename(&new, &kept).is_err() {
            // Another test process was quicker.
            let _ = std::fs::remove_dir_all(&new);
        }
        kept
    })
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.args(["--archive", "--sparse=always", "--no-target-directory"]).arg(from).arg(to);
    succeed(&mut command, "");
}

/// A folder that the server's user can enter.
fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("sp").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// A server does not run as root.
fn as_mysql() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=mysql")
}

fn spawn(own: &Path, data: &Path, options: &[String]) -> Server {
    let errors = std::fs::File::options().create(true).append(true).open(own.join("errors")).unwrap();
    let mut command = Command::new(find(&["mariadbd"]).expect("it was there a moment ago"));
    command.args(["--no-defaults", "--skip-networking"]).args(SMALL).args(as_mysql()).args(options);
    command.arg(format!("--datadir={}", data.display()));
    command.arg(format!("--socket={}", own.join("s").display()));
    command.arg(format!("--pid-file={}", own.join("pid").display()));
    command.arg(format!("--tmpdir={}", own.display()));
    command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors);
    Server(command.spawn().unwrap())
}

impl MariaDb {
    /// Starts a server on a folder of its own. `None` where MariaDB is missing.
    pub fn private(test: &str, options: &[&str]) -> Option<MariaDb> {
        let own = open_folder();
        let data = own.path().join("data");
        fresh(test, &data)?;
        Some(MariaDb::start(own, &data, options).unwrap())
    }

    /// Starts a server that others can follow, at this port of this machine. `None` where MariaDB is missing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn primary(test: &str) -> Option<(MariaDb, u16)> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().port();
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

    /// Starts a server on this data folder.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn on(data: &Path, options: &[&str]) -> MariaDb {
        MariaDb::try_on(data, options).unwrap()
    }

    /// Starts a server on this data folder, which may be too broken for that.
    ///
    /// # Errors
    /// The server's own words when it ends instead of answering.
    ///
    /// # Panics
    /// When it neither ends nor answers in time.
    pub fn try_on(data: &Path, options: &[&str]) -> Result<MariaDb, String> {
        MariaDb::start(open_folder(), data, options)
    }

    fn start(own: TempDir, data: &Path, options: &[&str]) -> Result<MariaDb, String> {
        std::fs::set_permissions(own.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        let server = spawn(own.path(), data, &options);
        MariaDb { server, own, data: data.to_owned(), options }.answering()
    }

    fn answering(mut self) -> Result<MariaDb, String> {
        let mut ended = false;
        wait_until("MariaDB answers", || {
            ended = self.server.0.try_wait().unwrap().is_some();
            ended || self.try_sql("SELECT 1;").code == Some(0)
        });
        if ended { Err(format!("MariaDB ended: {}", self.errors())) } else { Ok(self) }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.server.0.kill();
        let _ = self.server.0.wait();
    }

    /// Starts it again on the same data and socket, after [`MariaDb::kill`].
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    pub fn start_again(mut self) -> MariaDb {
        self.kill();
        self.server = spawn(self.own.path(), &self.data, &self.options);
        self.answering().unwrap()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Opens a session.
    pub fn open(&self) -> Session {
        Session::open(self.client())
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.own.path().join("s")
    }

    /// Its error log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.own.path().join("errors")).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.0.id()
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

    fn client(&self) -> Command {
        let mut command = Command::new(find(&["mariadb"]).expect("it was there a moment ago"));
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
        Writers::start(count, |writer, _| by_client(self.client(), "app.writes", writer))
    }

    /// The rows that it holds, after a check of the table.
    ///
    /// # Panics
    /// When the check fails.
    pub fn rows(&self) -> BTreeSet<Row> {
        let check = self.sql("CHECK TABLE app.writes EXTENDED;");
        assert!(check.trim_end().ends_with("status\tOK"), "CHECK TABLE says: {check}");
        let text = self.sql("SELECT writer, sequence FROM app.writes;");
        let row = |line: &str| {
            let (writer, sequence) = line.split_once('\t')?;
            Some((writer.parse().ok()?, sequence.parse().ok()?))
        };
        text.lines().map(|line| row(line).unwrap_or_else(|| panic!("no row: {line}"))).collect()
    }
}
