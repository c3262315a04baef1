//! Bad input: a clear error, the right exit code, nothing frozen, no panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::missing::{find, missing};
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::tmpfs::Tmpfs;
use stillpoint_tests::writers::Writers;
use tempfile::TempDir;

/// A SQLite database with a writer that must never be made to wait, and a configuration that would work.
struct Scene {
    site: Site,
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::Builder::new().prefix("sp").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ipc")).unwrap();
        sqlite::make(&folder.path().join("app.db"), Journal::Wal);
        let scene = Scene { site: Site::new(), folder };
        scene.site.configure(&scene.configuration());
        scene
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn configuration(&self) -> String {
        format!(
            "[workload]\nworkload_name = sqlite\ndbnames = {}\nipc_folder = {}\ntimeout = 60\n",
            self.path("app.db"),
            self.path("ipc")
        )
    }

    /// Adds a line to the configuration.
    fn add(&self, line: &str) {
        self.site.configure(&format!("{}{line}\n", self.configuration()));
    }

    /// Replaces a piece of the configuration.
    fn replace(&self, piece: &str, with: &str) {
        let text = self.configuration();
        assert!(text.contains(piece));
        self.site.configure(&text.replace(piece, with));
    }

    fn writers(&self) -> Writers {
        sqlite::writers(Path::new(&self.path("app.db")), 1)
    }
}

/// What the operator must be told.
struct Told {
    exit: i32,
    id: &'static str,
    words: &'static [&'static str],
}

/// `run` must refuse, for machines and for people, start nothing, and stop no writer.
fn refused(site: &Site, writers: Option<&Writers>, told: &Told) {
    let Told { exit, id, words } = told;
    let command = site.path("command-ran");
    let command = command.to_str().unwrap();
    let said = site.json(&["run", "--", "touch", command]);
    assert_eq!(said.code, Some(*exit), "{}", said.text);
    assert!(said.faults().iter().any(|f| f == id), "{id} is not in {}", said.text);

    let ended = site.call(&["run", "--", "touch", command]);
    let text = ended.text();
    assert_eq!(ended.code, Some(*exit), "{text}");
    assert!(text.contains(id) && text.contains('→'), "neither {id} nor what to do next: {text}");
    for word in *words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(!text.contains("thawed"), "nothing was frozen: {text}");

    assert!(!Path::new(command).exists(), "the command of run was started");
    site.assert_nothing_is_frozen();
    if let Some(writers) = writers {
        writers.get_on(10);
    }
}

/// One mistake in a scene that would work without it.
fn mistake(make: impl FnOnce(&Scene), told: &Told) {
    let scene = Scene::new();
    let writers = scene.writers();
    make(&scene);
    refused(&scene.site, Some(&writers), told);
    assert!(writers.stop().errors.is_empty());
}

#[test]
fn without_a_mistake_it_works() {
    let scene = Scene::new();
    let writers = scene.writers();
    let check = scene.site.json(&["check"]);
    assert_eq!(check.code, Some(0), "{}", check.text);
    // Nothing was to be frozen, so nothing is said of a snapshot.
    let looked_at = &check.json["workloads"][0];
    assert!(looked_at["verdict"].is_null() && looked_at["database"].is_string(), "{}", check.text);
    let said = scene.site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    writers.get_on(10);
}

#[test]
fn the_configuration_is_missing() {
    mistake(
        |s| std::fs::remove_file(s.site.configuration()).unwrap(),
        &Told { exit: 2, id: "SP-CFG-001", words: &["workload.conf", "No such file", "--config"] },
    );
}

#[test]
fn the_configuration_cannot_be_read() {
    // Root reads whatever its mode: a folder in its place cannot be read by anybody.
    mistake(
        |s| {
            std::fs::remove_file(s.site.configuration()).unwrap();
            std::fs::create_dir(s.site.configuration()).unwrap();
        },
        &Told { exit: 2, id: "SP-CFG-001", words: &["workload.conf", "no file"] },
    );
}

#[test]
fn the_configuration_is_not_text() {
    mistake(
        |s| std::fs::write(s.site.configuration(), [b'[', 0xff, 0xfe]).unwrap(),
        &Told { exit: 2, id: "SP-CFG-001", words: &["not UTF-8"] },
    );
}

#[test]
fn a_key_is_unknown() {
    mistake(
        |s| s.add("time_out = 30"),
        &Told { exit: 2, id: "SP-CFG-003", words: &["time_out is unknown", "did you mean  timeout", ":6:", "^"] },
    );
}

#[test]
fn a_key_is_there_twice() {
    mistake(
        |s| s.add("timeout = 30"),
        &Told { exit: 2, id: "SP-CFG-004", words: &["timeout is there twice", ":6:", "^"] },
    );
}

#[test]
fn the_timeout_is_nothing() {
    mistake(
        |s| s.replace("timeout = 60", "timeout = 0"),
        &Told { exit: 2, id: "SP-CFG-005", words: &["timeout must be", ":5:", "^", "timeout = 90"] },
    );
}

#[test]
fn the_timeout_is_no_number() {
    mistake(
        |s| s.replace("timeout = 60", "timeout = abc"),
        &Told { exit: 2, id: "SP-CFG-005", words: &["timeout must be", ":5:", "^", "timeout = 90"] },
    );
}

#[test]
fn the_user_is_unknown() {
    mistake(
        |s| s.add("linux_user = nobody-here"),
        &Told { exit: 2, id: "SP-CFG-008", words: &["nobody-here does not exist", "^"] },
    );
}

#[test]
fn the_client_program_is_missing() {
    mistake(
        |s| s.add(&format!("command_path = {}", s.path("ipc"))),
        &Told { exit: 2, id: "SP-CLIENT-001", words: &["no program sqlite3", "command_path"] },
    );
}

#[test]
fn the_client_program_can_be_written_by_others() {
    mistake(
        |s| {
            let client = s.folder.path().join("sqlite3");
            std::fs::copy(find(&["sqlite3"]).expect("sqlite3 is installed"), &client).unwrap();
            std::fs::set_permissions(client, PermissionsExt::from_mode(0o757)).unwrap();
            s.add(&format!("command_path = {}", s.folder.path().display()));
        },
        &Told { exit: 2, id: "SP-CLIENT-002", words: &["can be written by others", "sqlite3"] },
    );
}

#[test]
fn the_module_is_missing() {
    mistake(
        |s| std::fs::remove_dir_all(s.site.module("sqlite")).unwrap(),
        &Told { exit: 3, id: "SP-TRUST-001", words: &["workload_name = sqlite"] },
    );
}

#[test]
fn the_module_is_truncated() {
    mistake(
        |s| {
            let file = std::fs::File::options().write(true).open(s.site.module("sqlite").join("module.wasm")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        },
        &Told { exit: 3, id: "SP-TRUST-007", words: &["not the one that was signed"] },
    );
}

#[test]
fn the_manifest_is_truncated() {
    mistake(
        |s| {
            let file = std::fs::File::options().write(true).open(s.site.module("sqlite").join("module.toml")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        },
        &Told { exit: 3, id: "SP-TRUST-004", words: &["not signed"] },
    );
}

#[test]
fn the_module_is_not_signed() {
    mistake(
        |s| std::fs::remove_dir_all(s.site.module("sqlite").join("signatures")).unwrap(),
        &Told { exit: 3, id: "SP-TRUST-004", words: &["not signed"] },
    );
}

#[test]
fn ipc_folder_is_a_symbolic_link() {
    mistake(
        |s| {
            symlink(s.path("ipc"), s.path("link")).unwrap();
            s.replace(&s.path("ipc"), &s.path("link"));
        },
        &Told { exit: 2, id: "SP-IPC-001", words: &["ipc_folder", "symbolic link", "^"] },
    );
}

#[test]
fn ipc_folder_is_missing() {
    mistake(
        |s| s.replace(&s.path("ipc"), &s.path("nowhere")),
        &Told { exit: 2, id: "SP-IPC-001", words: &["ipc_folder", "No such file", "^"] },
    );
}

/// Undos are read from the state folder and run: nobody else may have written them.
#[test]
fn the_state_folder_can_be_written_by_others() {
    mistake(
        |s| {
            std::fs::create_dir_all(s.site.path("lib")).unwrap();
            std::fs::set_permissions(s.site.path("lib"), PermissionsExt::from_mode(0o777)).unwrap();
        },
        &Told { exit: 1, id: "SP-CYCLE-001", words: &["can be written by others"] },
    );
}

#[test]
fn the_login_is_for_a_client_that_takes_none() {
    mistake(
        |s| s.add("credString = -u somebody"),
        &Told { exit: 2, id: "SP-CFG-012", words: &["takes no login", "credString"] },
    );
}

#[test]
fn a_database_is_named_twice_by_a_link() {
    mistake(
        |s| {
            symlink(s.path("app.db"), s.path("link.db")).unwrap();
            s.replace(&s.path("app.db"), &format!("{}, {}", s.path("app.db"), s.path("link.db")));
        },
        &Told { exit: 4, id: "SP-DB-005", words: &["link.db", "same file"] },
    );
}

#[test]
fn ipc_folder_is_full() {
    let test = "ipc_folder_is_full";
    let scene = Scene::new();
    let Some(_small) = Tmpfs::mount(test, Path::new(&scene.path("ipc")), "size=16k") else { return };
    // Fails when nothing more fits.
    assert!(std::fs::write(scene.folder.path().join("ipc/ballast"), [0; 64 * 1024]).is_err());
    let writers = scene.writers();
    refused(&scene.site, Some(&writers), &Told { exit: 4, id: "SP-IPC-011", words: &["ipc_folder", "full"] });
}

#[test]
fn the_password_is_wrong() {
    let Some(server) = MariaDb::private("the_password_is_wrong", &[]) else { return };
    server.make_table();
    server.sql("CREATE USER backup@localhost IDENTIFIED BY 'right'; GRANT ALL ON *.* TO backup@localhost;");
    let site = Site::with(&mariadb(&server.socket(), "-u backup -pwrong-secret", 60));
    let writers = server.writers(1);
    refused(&site, Some(&writers), &Told { exit: 4, id: "SP-DB-001", words: &["Access denied", "credString"] });
    assert!(!site.call(&["check"]).stdout.contains("wrong-secret"));
}

#[test]
fn the_server_is_down() {
    let Some(server) = MariaDb::private("the_server_is_down", &[]) else { return };
    let socket = server.socket();
    drop(server);
    let site = Site::with(&mariadb(&socket, "-u root", 60));
    refused(&site, None, &Told { exit: 4, id: "SP-DB-001", words: &["connect", "server runs"] });
}

#[test]
fn the_server_accepts_and_never_answers() {
    if find(&["mariadb"]).is_none() {
        return missing("the_server_accepts_and_never_answers", "there is no program mariadb");
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming() {
            held.push(connection);
        }
    });
    let site = Site::with(&mariadb(&socket, "-u root", 2));
    let began = std::time::Instant::now();
    refused(&site, None, &Told { exit: 4, id: "SP-DB-002", words: &["did not answer"] });
    assert!(began.elapsed().as_secs() < 15, "it waited {:?}", began.elapsed());
}

fn mariadb(socket: &Path, login: &str, timeout: u32) -> String {
    format!(
        "[workload]\nworkload_name = mariadb\ncredString = {login} --socket={}\ntimeout = {timeout}\n",
        socket.display()
    )
}

/// A server is frozen as a whole: who names databases of it is told so.
#[test]
fn databases_are_named_of_a_server_that_is_frozen_whole() {
    let Some(server) = MariaDb::private("databases_are_named_of_a_server_that_is_frozen_whole", &[]) else { return };
    let site = Site::with(&format!("{}dbnames = app;other\n", mariadb(&server.socket(), "-u root", 60)));
    let said = site.json(&["check"]);
    said.assert_fault(0, "SP-CFG-023");
}

/// `check` says the same beforehand, with the same exit code.
#[test]
fn check_finds_what_run_would_meet() {
    let scene = Scene::new();
    let code = || scene.site.call(&["check"]).code;
    assert_eq!(code(), Some(0));
    scene.add("command_path = /nowhere");
    assert_eq!(code(), Some(2));
    scene.add("timeout = 1");
    assert_eq!(code(), Some(2));
    scene.site.configure(&scene.configuration());
    std::fs::remove_file(scene.path("app.db")).unwrap();
    for file in ["app.db-wal", "app.db-shm"] {
        let _ = std::fs::remove_file(scene.path(file));
    }
    assert_eq!(code(), Some(4));
    assert!(!Path::new(&scene.path("app.db")).exists(), "check made a database");
}

/// The words of the credential are in no error, whatever is wrong beside it.
#[test]
fn a_mistake_beside_a_password_does_not_tell_it() {
    let scene = Scene::new();
    for wrong in ["credString = -u root --hunter2", "credString = -u root -phunter2\nusr = x", "hunter2"] {
        scene.add(wrong);
        for output in ["text", "json"] {
            let mut command = scene.site.command(&["--output", output, "check"]);
            let ended = run(&mut command, "");
            assert_eq!(ended.code, Some(2));
            if wrong != "hunter2" {
                assert!(!ended.text().contains("hunter2"), "{}", ended.stderr);
            }
        }
    }
    // A file that others can read must not hold a password at all.
    scene.add("credString = -u root -phunter2");
    succeed(Command::new("chmod").arg("644").arg(scene.site.configuration()), "");
    let said = scene.site.json(&["check"]);
    said.assert_fault(2, "SP-CFG-009");
    assert!(!said.text.contains("hunter2"));
    let _: &Said = &said;
}
