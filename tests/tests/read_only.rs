//! A freeze that outlasts every session, on a real server: `SET GLOBAL read_only` on MariaDB. What was there before comes
//! back, whoever dies, and a replica never becomes writable.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stillpoint_tests::folder;
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::site::Site;
use stillpoint_tests::wait_until;

/// A server on a data folder that outlives it.
struct Scene {
    server: Option<MariaDb>,
    site: Site,
    data: tempfile::TempDir,
}

impl Scene {
    fn new(test: &str, before: bool) -> Option<Scene> {
        let data = folder::with_mode(0o755);
        mariadb::fresh(test, &data.path().join("data"))?;
        let mut scene = Scene { server: None, site: Site::new(), data };
        scene.start(before);
        scene.site.install_guest("read-only");
        Some(scene)
    }

    /// Starts the server, with this value of `read_only`.
    fn start(&mut self, read_only: bool) {
        self.server = None;
        let option = format!("--read-only={}", u8::from(read_only));
        let server = MariaDb::on(&self.data.path().join("data"), &[&option]);
        // Under the same name as the one before it.
        let socket = self.site.path("socket");
        let _ = std::fs::remove_file(&socket);
        std::os::unix::fs::symlink(server.socket(), &socket).unwrap();
        self.site.configure(&format!(
            "[workload]\nworkload_name = read-only\ncredString = -u root -S {}\ntimeout = 60\n",
            socket.display()
        ));
        self.server = Some(server);
    }

    fn read_only(&self) -> bool {
        self.server.as_ref().unwrap().sql("SELECT @@GLOBAL.read_only;").trim() == "1"
    }

    /// Until nobody holds the lock any more.
    fn recover(&self) -> Option<i32> {
        let mut code = Some(7);
        wait_until("nobody is left who thaws", || {
            code = self.site.json(&["recover"]).code;
            code != Some(7)
        });
        code
    }
}

fn what_was_there_comes_back(test: &str, before: bool) {
    let Some(scene) = Scene::new(test, before) else { return };
    let said = scene.site.json(&["run", "--", "true"]);
    said.assert_still();
    assert_eq!(scene.read_only(), before, "after a cycle");
    scene.site.freeze();
    assert!(scene.read_only(), "while it is held");
    scene.site.kill_keeper();
    wait_until("the guard restores what was there", || scene.read_only() == before);
    assert_eq!(scene.recover(), Some(0));
    scene.site.freeze();
    scene.site.kill_keeper_and_guard();
    assert!(scene.read_only(), "nobody is left who could restore it");
    let status = scene.site.json(&["status"]);
    status.assert_fault(6, "SP-CYCLE-009");
    assert!(scene.site.call(&["check"]).stdout.contains("SP-CYCLE-009"), "check says so, too");
    assert_eq!(scene.recover(), Some(5));
    assert_eq!(scene.read_only(), before, "after recovery");
    let said = scene.site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(scene.read_only(), before, "at last");
}

#[test]
fn a_server_that_was_writable_is_so_again() {
    what_was_there_comes_back("a_server_that_was_writable_is_so_again", false);
}

#[test]
fn a_replica_never_becomes_writable() {
    what_was_there_comes_back("a_replica_never_becomes_writable", true);
}

/// It was writable when we froze it; meanwhile somebody has started it as a replica.
#[test]
fn a_server_that_was_restarted_is_left_as_it_is() {
    let Some(mut scene) = Scene::new("a_server_that_was_restarted_is_left_as_it_is", false) else { return };
    scene.site.freeze();
    scene.site.kill_keeper_and_guard();
    // A server is told from the one before it by the second in which it started.
    let clock = "SELECT UNIX_TIMESTAMP() > (SELECT UNIX_TIMESTAMP() - variable_value FROM information_schema.global_status \
                 WHERE variable_name = 'UPTIME');";
    wait_until("another second has begun", || scene.server.as_ref().unwrap().sql(clock).trim() == "1");
    scene.start(true);
    assert_eq!(scene.recover(), Some(5));
    assert!(scene.read_only(), "a replica was made writable");
}
