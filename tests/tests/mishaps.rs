//! Mishaps of a database that have a name: its server ends our session, is restarted at the worst moment, or is one where
//! two were configured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stillpoint_tests::fake::{FakeServer, Misbehaviour};
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::{free_port, wait_until};

/// The server ends what is idle for longer than `wait_timeout`, and tells nobody.
#[test]
fn a_session_that_was_idle_for_too_long_is_not_called_consistent() {
    let test = "a_session_that_was_idle_for_too_long_is_not_called_consistent";
    let Some(server) = MariaDb::private(test, &["--wait-timeout=5"]) else { return };
    server.make_table();
    let configured = |name: &str| {
        let socket = server.socket();
        format!("[workload]\nworkload_name = {name}\ncredString = -u root -S {}\ntimeout = 60\n", socket.display())
    };
    let ours = "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root';";
    let site = Site::with(&configured("idle"));
    site.install_guest("idle");
    // In time it holds: so it is the time that ends it.
    let said = site.json(&["run", "--", "true"]);
    said.assert_consistent();
    site.freeze();
    wait_until("the server has ended our sessions", || server.sql(ours).trim() == "0");
    server.sql("INSERT INTO app.writes VALUES (1, 1);");
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    site.assert_nothing_is_frozen();
    // The module of MariaDB sees to it that this does not happen.
    site.configure(&configured("mariadb"));
    let began = std::time::Instant::now();
    site.freeze();
    wait_until("the time has passed", || began.elapsed() > std::time::Duration::from_secs(7));
    let said = site.json(&["thaw"]);
    said.assert_still();
    site.assert_nothing_is_frozen();
}

/// Two ways to one server: the second would wait for the first without an end.
#[test]
fn two_workloads_that_are_one_server() {
    let port = free_port();
    let options = ["--skip-networking=0", "--bind-address=127.0.0.1", &format!("--port={port}")];
    let Some(server) = MariaDb::private("two_workloads_that_are_one_server", &options) else { return };
    let Some(other) = MariaDb::private("two_workloads_that_are_one_server", &[]) else { return };
    server.make_table();
    // No privilege is needed to tell servers apart.
    server.sql(
        "CREATE USER backup@localhost IDENTIFIED BY 'x'; CREATE USER backup@'127.0.0.1' IDENTIFIED BY 'x'; \
         GRANT RELOAD, PROCESS ON *.* TO backup@localhost; GRANT RELOAD, PROCESS ON *.* TO backup@'127.0.0.1';",
    );
    let section = |name: &str, login: &str| {
        format!("[workload {name}]\nworkload_name = mariadb\ncredString = {login}\ntimeout = 60\n")
    };
    let by_socket = section("a", &format!("-u root -S {}", server.socket().display()));
    let site = Site::new();
    for second in [
        section("b", &format!("-u root -S {}", server.socket().display())),
        section("b", &format!("-u backup -px -S {}", server.socket().display())),
        section("b", &format!("-u backup -px -h 127.0.0.1 -P {port}")),
    ] {
        site.configure(&format!("{by_socket}{second}"));
        for arguments in [&["check"][..], &["run", "--", "true"]] {
            let said = site.json(arguments);
            said.assert_fault(4, "SP-DB-006");
        }
        site.assert_nothing_is_frozen();
        server.sql("TRUNCATE app.writes; INSERT INTO app.writes VALUES (1, 1);");
    }
    let another = section("b", &format!("-u root -S {}", other.socket().display()));
    site.configure(&format!("{by_socket}{another}"));
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
}

/// The server does the undo, dies before it has said so, and is started again. What was in its memory is left to the new
/// one, whatever somebody has set there meanwhile.
fn the_server_is_restarted_between_undo_and_answer(name: &str, undo: &str, somebody_sets_it: bool) {
    let mut server = FakeServer::private();
    let site = server.site(name, 60);
    site.freeze();
    server.misbehave(true, Misbehaviour::CrashAfter, undo);
    let thaw = site.start(&["thaw"]);
    wait_until("the server is dead", || !server.runs());
    server.start();
    if somebody_sets_it {
        server.sql("SET READONLY 1");
    }
    let said = Said::of(thaw.end());
    assert_eq!(server.frozen(), if somebody_sets_it { "readonly" } else { "" }, "{}", said.text);
    // It was proved before the undo was sent.
    said.assert_consistent();
    site.assert_nothing_is_frozen();
    let said = site.json(&["recover"]);
    assert_eq!((said.code, &said.json["taken_back"]), (Some(0), &serde_json::json!([])), "{}", said.text);
}

#[test]
fn a_restart_after_the_undo_of_a_lock() {
    the_server_is_restarted_between_undo_and_answer("fake-session", "UNLOCK", false);
}

#[test]
fn a_restart_after_the_undo_of_what_expires() {
    the_server_is_restarted_between_undo_and_answer("fake-expires", "RESUME", false);
}

#[test]
fn a_restart_after_the_undo_in_the_servers_memory() {
    the_server_is_restarted_between_undo_and_answer("fake-server", "SET READONLY 0", false);
}

#[test]
fn a_restart_after_the_undo_in_the_servers_memory_which_somebody_has_set() {
    the_server_is_restarted_between_undo_and_answer("fake-server", "SET READONLY 0", true);
}

#[test]
fn a_restart_after_the_undo_on_disk() {
    the_server_is_restarted_between_undo_and_answer("fake-disk", "END BACKUP", false);
    the_server_is_restarted_between_undo_and_answer("fake-suspend", "RESUME DISK", false);
}
