//! Puts SQL, and commands of the client, into an argument of each type.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, statement};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        for database in cx.databases().iter().take(1) {
            for sent in INJECTIONS {
                let text = statement::text(cx, database, sent).and_then(|rows| rows.one());
                injected("text", sent, text.map(|row| Some(row.text.into_bytes())));
                let bytes = statement::bytes(cx, database, sent.as_bytes()).and_then(|rows| rows.one());
                injected("bytes", sent, bytes.map(|row| Some(row.bytes)));
                // There is no table of such a name: any answer but an error is a wrong one.
                injected("identifier", sent, statement::count(cx, database, sent).map(|_| None));
                injected("integer", sent, execute(cx, "number", Some(database), &[Value::from(sent)]).map(|()| None));
            }
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
