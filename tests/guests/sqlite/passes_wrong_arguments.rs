//! Passes too few, too many, of another type, out of range, too long, or none where a database is needed.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        let database = cx.databases().first().map(String::as_str);
        let [one, text] = [Value::Integer(1), Value::Text("1".into())];
        let long = Value::Text("x".repeat(1001));
        let bytes = Value::Bytes(vec![0; 1001]);
        for (statement, arguments) in [
            ("number", vec![]),
            ("number", vec![one.clone(), one.clone()]),
            ("number", vec![text.clone()]),
            ("number", vec![Value::Bytes(vec![49])]),
            ("number", vec![Value::Null]),
            ("number", vec![Value::Integer(0)]),
            ("number", vec![Value::Integer(i64::MIN)]),
            ("number", vec![Value::Integer(i64::MAX)]),
            ("text", vec![one.clone()]),
            ("text", vec![long]),
            ("bytes", vec![text]),
            ("bytes", vec![bytes]),
            ("count", vec![Value::Null]),
            ("count", vec![Value::Text(String::new())]),
            ("count", vec![Value::Text("x".repeat(129))]),
            ("version", vec![one]),
        ] {
            try_it(cx, statement, database, &arguments);
        }
        try_it(cx, "version", None, &[]);
        try_it(cx, "version", Some(""), &[]);
        Ok(())
    }
}

export!(Sqlite<Hostile>);
