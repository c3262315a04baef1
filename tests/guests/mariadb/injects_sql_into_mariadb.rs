//! Puts SQL, and commands of the client, into an argument of each type.

use stillpoint_guests::mariadb::{MariaDb, OnMariaDb, statement};
use stillpoint_guests::prelude::*;

enum Hostile {}

impl OnMariaDb for Hostile {
    fn check(cx: &Check) -> Result<()> {
        for sent in INJECTIONS {
            let text = statement::text(cx, sent).and_then(|rows| rows.one());
            injected("text", sent, text.map(|row| Some(row.text.into_bytes())));
            let bytes = statement::bytes(cx, sent.as_bytes()).and_then(|rows| rows.one());
            injected("bytes", sent, bytes.map(|row| Some(row.bytes)));
            // There is no table of such a name: any answer but an error is a wrong one.
            injected("identifier", sent, statement::count(cx, sent).map(|_| None));
            injected("integer", sent, execute(cx, "number", None, &[Value::from(sent)]).map(|()| None));
        }
        Ok(())
    }
}

export!(MariaDb<Hostile>);
