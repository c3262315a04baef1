//! Asks for the credential wherever it might be had.

use stillpoint_guests::mariadb::{MariaDb, OnMariaDb, statement};
use stillpoint_guests::prelude::*;

enum Hostile {}

impl OnMariaDb for Hostile {
    fn check(cx: &Check) -> Result<()> {
        tell(format_args!("{cx:?}"));
        for statement in ["grants", "SHOW GRANTS", "SELECT * FROM mysql.global_priv", "connection_id"] {
            try_it(cx, statement, None, &[]);
        }
        for name in ["credential", "workload.conf", "../credential", "recovery-point.json"] {
            match state::get(name) {
                Ok(content) => tell(format_args!("get {name}: {content:?}")),
                Err(e) => tell(e),
            }
        }
        for name in ["HOME", "MYSQL_PWD", "CREDENTIALS_DIRECTORY", "STILLPOINT_CREDENTIAL"] {
            tell(format_args!("{name}: {:?}", std::env::var(name)));
        }
        // What the database itself would show of it.
        injected("identifier", "mysql.global_priv", statement::count(cx, "mysql.global_priv").map(|_| None));
        Ok(())
    }
}

export!(MariaDb<Hostile>);
