//! Says that it has let go of MariaDB, and has not.

use stillpoint_guests::mariadb::{MariaDb, OnMariaDb};
use stillpoint_guests::prelude::*;

enum Hostile {}

impl OnMariaDb for Hostile {
    fn thaw(_cx: &Thaw) -> Result<()> {
        Ok(())
    }
}

export!(MariaDb<Hostile>);
