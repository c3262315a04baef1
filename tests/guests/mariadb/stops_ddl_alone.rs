//! Says that it is frozen, and has stopped changes of the schema alone.

use stillpoint_guests::mariadb::{MariaDb, OnMariaDb};
use stillpoint_guests::prelude::*;

enum Hostile {}

impl OnMariaDb for Hostile {
    fn freeze(_cx: &Freeze) -> Result<RecoveryPoint> {
        Ok(RecoveryPoint::new())
    }
}

export!(MariaDb<Hostile>);
