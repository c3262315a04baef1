//! A private Firebird: a folder, a port and users of its own; it is killed when it is dropped.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::User;
use tempfile::TempDir;

use crate::comparison::{Row, printed_rows};
use crate::missing::program;
use crate::program::{Ended, KillOnDrop, Running, run, start, succeed};
use crate::writers::{Write, Writers};
use crate::{free_port, wait_until};

/// Where Debian keeps what every server needs.
const PARTS: &str = "/usr/lib/x86_64-linux-gnu/firebird/3.0";

/// Debian's own statements for the database of users.
const USERS: &str = "/usr/share/firebird/3.0/security.sql";

/// The password of `SYSDBA` on each private server.
pub const PASSWORD: &str = "masterkey";

/// A server under way.
pub struct Firebird {
    // First: the server must have ended before its folder goes.
    server: KillOnDrop,
    own: TempDir,
    port: u16,
}

/// It runs as its own user where that can be.
fn as_firebird(own: &Path, program: &str) -> Command {
    let mut command = match User::from_name("firebird").ok().flatten().filter(|_| nix::unistd::geteuid().is_root()) {
        Some(_) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=firebird", "--regid=firebird", "--clear-groups", "--", program]);
            command
        }
        None => Command::new(program),
    };
    command.env("FIREBIRD", own).env("FIREBIRD_LOCK", own.join("lock")).env("FIREBIRD_TMP", own.join("lock"));
    command.env_remove("ISC_USER").env_remove("ISC_PASSWORD").current_dir("/");
    command
}

/// Makes a folder that the server's user may write to.
///
/// # Panics
/// When that fails.
pub fn folder(at: &Path) {
    std::fs::create_dir_all(at).unwrap();
    std::fs::set_permissions(at, PermissionsExt::from_mode(0o777)).unwrap();
}

impl Firebird {
    /// Starts a server. `None` where Firebird is missing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn private(test: &str) -> Option<Firebird> {
        Firebird::with_aliases(test, None, "")
    }

    /// Starts a server at this port, or at a free one, with these lines in its `databases.conf`. `None` where Firebird is
    /// missing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with_aliases(test: &str, port: Option<u16>, aliases: &str) -> Option<Firebird> {
        program(test, &["firebird"], "firebird3.0-server")?;
        for tool in ["isql-fb", "nbackup", "gfix"] {
            program(test, &[tool], "firebird3.0-utils")?;
        }
        let own = crate::folder::with_mode(0o777);
        folder(&own.path().join("lock"));
        for part in ["UDF", "intl", "lib", "plugins", "firebird.msg", "plugins.conf"] {
            symlink(Path::new(PARTS).join(part), own.path().join(part)).unwrap();
        }
        let users = own.path().join("security3.fdb");
        let settings = format!(
            "ServerMode = Super\nRemoteBindAddress = 127.0.0.1\nSecurityDatabase = {}\nDatabaseAccess = Full\n",
            users.display()
        );
        std::fs::write(own.path().join("firebird.conf"), settings).unwrap();
        std::fs::write(own.path().join("databases.conf"), aliases).unwrap();
        // Without a server: whoever may write the file is asked for nothing.
        let make = format!("CREATE DATABASE '{}';\nINPUT {USERS};\nCOMMIT;\n", users.display());
        succeed(as_firebird(own.path(), "isql-fb").args(["-q", "-b", "-user", "SYSDBA"]), &make);
        let user = format!("CREATE USER SYSDBA PASSWORD '{PASSWORD}';\n");
        succeed(as_firebird(own.path(), "isql-fb").args(["-q", "-b", "-user", "SYSDBA"]).arg(&users), &user);
        let port = port.unwrap_or_else(free_port);
        let server = spawn(own.path(), port);
        Some(Firebird { server, own, port }.answering())
    }

    fn answering(mut self) -> Firebird {
        wait_until("Firebird answers", || {
            let ended = self.server.0.try_wait().unwrap();
            assert!(ended.is_none(), "Firebird ended: {ended:?}");
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        self
    }

    /// Ends it as a crash does.
    pub fn crash(&mut self) {
        self.server.kill();
    }

    /// Starts it again, after a crash.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    pub fn start_again(mut self) -> Firebird {
        self.crash();
        self.server = spawn(self.own.path(), self.port);
        self.answering()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A folder for its databases.
    pub fn folder(&self) -> &Path {
        self.own.path()
    }

    /// A section of `workload.conf` that reaches these databases of it as `SYSDBA`, with more lines.
    pub fn configuration(&self, databases: &[&Path], more: &str) -> String {
        let databases: Vec<_> = databases.iter().map(|d| d.display().to_string()).collect();
        format!(
            "[workload]\nworkload_name = firebird\ndbnames = {}\ncredString = -u sysdba -p{PASSWORD} -h 127.0.0.1 -P {}\n{more}",
            databases.join(", "),
            self.port
        )
    }

    /// How a client names this path or alias.
    pub fn name(&self, database: &Path) -> String {
        format!("inet://127.0.0.1:{}/{}", self.port, database.display())
    }

    fn as_sysdba(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.env("ISC_USER", "SYSDBA").env("ISC_PASSWORD", PASSWORD).current_dir("/");
        command
    }

    /// Makes a database with the table that the writers fill.
    pub fn make(&self, database: &Path) {
        let text = format!(
            "CREATE DATABASE '{}' PAGE_SIZE 4096;\n\
             CREATE TABLE writes (writer INTEGER NOT NULL, sequence BIGINT NOT NULL, PRIMARY KEY (writer, sequence));\n",
            self.name(database)
        );
        succeed(self.as_sysdba("isql-fb").args(["-q", "-b"]), &text);
    }

    /// Runs statements as `SYSDBA`, whatever comes of it.
    pub fn try_sql(&self, database: &Path, text: &str) -> Ended {
        let text = format!("SET HEADING OFF;\n{text}\n");
        run(self.as_sysdba("isql-fb").args(["-q", "-b"]).arg(self.name(database)), &text)
    }

    /// Runs statements as `SYSDBA`; gives each row as its words with single spaces between.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, database: &Path, text: &str) -> Vec<String> {
        let ended = self.try_sql(database, text);
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{text}: {ended:?}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        ended.stdout.lines().map(words).filter(|line| !line.is_empty()).collect()
    }

    /// 0: as always, 1: in backup mode, 2: what was written meanwhile is brought back.
    pub fn backup_state(&self, database: &Path) -> String {
        self.sql(database, "SELECT MON$BACKUP_STATE FROM MON$DATABASE;").concat()
    }

    /// Starts statements as `SYSDBA`, and does not wait for their end.
    pub fn start_sql(&self, database: &Path, text: &str) -> Running {
        start(self.as_sysdba("isql-fb").args(["-q", "-b"]).arg(self.name(database)), &format!("{text}\n"))
    }

    /// Makes a table `big` where there is none, and puts so many rows of three kilobytes into it.
    pub fn fill(&self, database: &Path, rows: u32) {
        self.try_sql(database, "CREATE TABLE big (id INTEGER, text VARCHAR(3000));");
        let text = format!(
            "SET TERM ^;\nEXECUTE BLOCK AS DECLARE i INTEGER = 0; BEGIN WHILE (i < {rows}) DO BEGIN INSERT INTO big \
             VALUES (:i, LPAD('', 3000, UUID_TO_CHAR(GEN_UUID()) || :i)); i = i + 1; END END^\nCOMMIT^\nSET TERM ;^"
        );
        self.sql(database, &text);
    }

    /// Waits until nothing of the backup mode is left: also what its catalogue says of it, which goes last.
    pub fn wait_for_the_end(&self, database: &Path) {
        let left = "SELECT MON$BACKUP_STATE FROM MON$DATABASE; SELECT COUNT(*) FROM RDB$FILES;";
        wait_until("all is brought back", || self.sql(database, left) == ["0", "0"]);
    }

    /// Runs `gfix` with these words on a database.
    ///
    /// # Panics
    /// When it fails or has something to say.
    pub fn gfix(&self, words: &[&str], database: &Path) {
        let ended = run(self.as_sysdba("gfix").args(words).arg(self.name(database)), "");
        let said = ended.text();
        assert!(ended.code == Some(0) && said.is_empty(), "gfix {words:?} {}: {said}", database.display());
    }

    /// Runs `nbackup` with this word on a file, as the server's user and without the server: no server may have it open.
    pub fn nbackup(&self, word: &str, database: &Path) {
        succeed(as_firebird(self.own.path(), "nbackup").args(["-user", "SYSDBA", word]).arg(database), "");
    }

    /// Starts writers: each an open client, which commits row after row.
    ///
    /// # Panics
    /// When a client cannot be started.
    pub fn writers(&self, database: &Path, count: u32) -> Writers {
        let name = self.name(database);
        Writers::start(count, |writer, _| {
            let mut client = self.as_sysdba("isql-fb");
            client.args(["-q", "-b"]).arg(&name);
            write(client, writer)
        })
    }

    /// The rows that it holds, after a look at each page by `gfix`. Nobody else may use it.
    ///
    /// # Panics
    /// When it is not whole.
    pub fn rows(&self, database: &Path) -> BTreeSet<Row> {
        let all = self.sql(database, "SELECT writer, sequence FROM writes;");
        let by_index =
            self.sql(database, "SELECT COUNT(*) FROM writes WHERE writer >= 0 PLAN (writes INDEX (rdb$primary1));");
        assert_eq!(by_index, [all.len().to_string()], "the index and the table differ");
        // Last, for it mends what it finds.
        self.validate(database);
        printed_rows(all.iter().map(String::as_str), ' ')
    }

    /// Has every page looked at. A warning is no damage: which pages a scan may skip is noted on others, and written after
    /// them.
    fn validate(&self, database: &Path) {
        let ended = run(self.as_sysdba("gfix").args(["-validate", "-full"]).arg(self.name(database)), "");
        let said = ended.text();
        let counts: Vec<&str> = said.lines().filter(|l| l.contains("Number of")).collect();
        let log = std::fs::read_to_string(self.own.path().join("firebird.log")).unwrap_or_default();
        let harmless = counts.iter().all(|l| l.contains("warnings")) && (said.is_empty() || !counts.is_empty());
        assert!(ended.code == Some(0) && harmless, "gfix -validate {}: {said}{log}", database.display());
        if !said.is_empty() {
            eprintln!("{}: {said}{log}", database.display());
        }
    }
}

fn spawn(own: &Path, port: u16) -> KillOnDrop {
    let mut command = as_firebird(own, "firebird");
    command.arg("-e").arg(own).arg("-el").arg(own.join("lock")).arg("-p").arg(port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let path = std::env::var("PATH").unwrap_or_default();
    KillOnDrop(command.env("PATH", format!("{path}:/usr/sbin")).spawn().unwrap())
}

/// A row counts as acknowledged once the statement behind its commit has answered.
fn write(mut client: Command, writer: u32) -> Write {
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = KillOnDrop(client);
    let mut stdin = client.0.stdin.take().expect("piped");
    let mut answers = BufReader::new(client.0.stdout.take().expect("piped")).lines();
    stdin.write_all(b"SET LIST ON;\n").unwrap();
    Box::new(move |sequence| {
        let text = format!(
            "INSERT INTO writes VALUES ({writer}, {sequence});\nCOMMIT;\n\
             SELECT {sequence} FROM RDB$DATABASE;\nCOMMIT;\n"
        );
        stdin.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
        let answer = answers.find(|line| !line.as_ref().is_ok_and(String::is_empty));
        match answer {
            Some(Ok(line)) if line.split_whitespace().eq(["CONSTANT", &sequence.to_string()]) => Ok(()),
            other => {
                let mut why = String::new();
                if let Some(stderr) = client.0.stderr.as_mut() {
                    let _ = stderr.read_to_string(&mut why);
                }
                Err(format!("{other:?} {why}"))
            }
        }
    })
}

/// The file beside a database into which it writes during its backup mode.
pub fn delta(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".delta");
    name.into()
}
