//! What a module's author gets from `module!`: typed arguments, typed rows, and errors that name the place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;

use stillpoint_sdk::fake::FakeHost;
use stillpoint_sdk::prelude::*;
use stillpoint_sdk::{StatementError, Value, row};

stillpoint_sdk::module!("tests/typed/module.toml");

type Steps = Box<dyn FnOnce(&Check) -> Result<()>>;

thread_local! {
    static STEPS: RefCell<Option<Steps>> = const { RefCell::new(None) };
}

/// A module whose check does what the test says.
struct Typed;

impl Workload for Typed {
    fn check(cx: &Check) -> Result<()> {
        STEPS.take().expect("steps")(cx)
    }
    fn prepare(_: &Prepare) -> Result<()> {
        Ok(())
    }
    fn freeze(_: &Freeze) -> Result<RecoveryPoint> {
        Ok(RecoveryPoint::new())
    }
    fn thaw(_: &Thaw) -> Result<()> {
        Ok(())
    }
}

/// Runs this as the check of a module.
fn check(host: &FakeHost, steps: impl FnOnce(&Check) -> Result<()> + 'static) -> Result<()> {
    STEPS.set(Some(Box::new(steps)));
    host.check::<Typed>().map(drop)
}

/// The words of the error with which this ends.
fn said(host: &FakeHost, steps: impl FnOnce(&Check) -> Result<()> + 'static) -> String {
    check(host, steps).expect_err("an error").to_string()
}

fn ask(cx: &Check) -> Result<stillpoint_sdk::Rows<sql::Everything>> {
    sql::everything(cx, b"\x00\xff", "it's", "orders", 7)
}

/// A row of `everything` that is as the manifest declares it.
fn good() -> Vec<Value> {
    let mut row = row![7, "seven", b"\x07".as_slice()];
    row.extend([Value::Null, Value::Null, Value::Null]);
    row
}

#[test]
fn arguments_are_sent_in_the_order_of_the_text() {
    let host = FakeHost::new();
    check(&host, |cx| ask(cx).map(drop)).expect("sent");
    assert_eq!(host.sent(), [r#"everything([0, 255], "it's", "orders", 7)"#]);
}

#[test]
fn rows_are_typed_and_null_is_none() {
    let host = FakeHost::new();
    let full = row![-1, "", b"".as_slice(), i64::MIN, "NULL", b"NULL".as_slice()];
    host.answer("everything", [good(), full]);
    check(&host, |cx| {
        let rows = ask(cx)?.all();
        let first = sql::Everything {
            integer: 7,
            text: "seven".into(),
            bytes: vec![7],
            maybe_integer: None,
            maybe_text: None,
            maybe_bytes: None,
        };
        let second = sql::Everything {
            integer: -1,
            text: String::new(),
            bytes: Vec::new(),
            maybe_integer: Some(i64::MIN),
            maybe_text: Some("NULL".into()),
            maybe_bytes: Some(b"NULL".to_vec()),
        };
        assert_eq!(rows, [first, second]);
        Ok(())
    })
    .expect("typed");
}

#[test]
fn a_column_of_the_wrong_type_names_statement_and_column() {
    for (at, wrong, column, words) in [
        (0, Value::from("seven"), "integer", "an integer was expected"),
        (0, Value::Null, "integer", "an integer was expected"),
        (1, Value::from(7), "text", "text was expected"),
        (1, Value::Null, "text", "text was expected"),
        (2, Value::from("seven"), "bytes", "bytes were expected"),
        (3, Value::from("seven"), "maybe_integer", "an integer was expected"),
        (4, Value::from(7), "maybe_text", "text was expected"),
        (5, Value::from(7), "maybe_bytes", "bytes were expected"),
    ] {
        let host = FakeHost::new();
        let mut row = good();
        row[at] = wrong;
        host.answer("everything", [row]);
        let said = said(&host, |cx| ask(cx).map(drop));
        let place = format!("statement everything: column {column}: {words}, not ");
        assert!(said.starts_with(&place), "{said}");
    }
}

#[test]
fn a_row_that_is_too_short_or_too_long_names_statement_and_column() {
    let host = FakeHost::new();
    host.answer("everything", [row![7, "seven"]]);
    assert_eq!(said(&host, |cx| ask(cx).map(drop)), "statement everything: column bytes is missing");

    let host = FakeHost::new();
    let mut long = good();
    long.push(Value::Null);
    host.answer("everything", [long]);
    let said = said(&host, |cx| ask(cx).map(drop));
    assert_eq!(said, "statement everything: more columns came than the manifest declares");
}

#[test]
fn one_takes_exactly_one_row() {
    let one = |cx: &Check| sql::page_count(cx, "/srv/a.db")?.one().map(|row| assert_eq!(row.pages, 3));

    let host = FakeHost::new();
    assert_eq!(said(&host, one), "statement page_count: one row was expected, 0 came");

    let host = FakeHost::new();
    host.answer("page_count", [row![3]]);
    check(&host, one).expect("one");

    let host = FakeHost::new();
    host.answer("page_count", [row![3], row![4]]);
    assert_eq!(said(&host, one), "statement page_count: one row was expected, 2 came");
}

#[test]
fn the_first_row_and_each_row() {
    let host = FakeHost::new();
    host.answer("page_count", []).answer("page_count", [row![3], row![4]]);
    check(&host, |cx| {
        assert_eq!(sql::page_count(cx, "/srv/a.db")?.first(), None);
        assert_eq!(sql::page_count(cx, "/srv/a.db")?.first(), Some(sql::PageCount { pages: 3 }));
        let pages: Vec<i64> = sql::page_count(cx, "/srv/a.db")?.into_iter().map(|row| row.pages).collect();
        assert_eq!(pages, [3, 4]);
        Ok(())
    })
    .expect("rows");
}

#[test]
fn a_session_for_each_database_takes_the_database() {
    let host = FakeHost::new();
    check(&host, |cx| {
        sql::limit_pages(cx, "/srv/a.db", 10)?;
        sql::limit_pages(cx, "/srv/b.db", 20)
    })
    .expect("sent");
    assert_eq!(host.sent(), ["limit_pages@/srv/a.db(10)", "limit_pages@/srv/b.db(20)"]);
}

#[test]
fn names_that_are_words_of_rust() {
    let host = FakeHost::new();
    host.answer("self", [row!["a", "b", "c", "d", "e"]]);
    check(&host, |cx| {
        let row: sql::Self_ = sql::self_(cx, "/srv/a.db", "me", "kind", "context", "main")?.one()?;
        assert_eq!((&*row.self_, &*row.r#type, &*row.r#gen, &*row.cells, &*row.value), ("a", "b", "c", "d", "e"));
        Ok(())
    })
    .expect("typed");
    assert_eq!(host.sent(), [r#"self@/srv/a.db("me", "kind", "context", "main")"#]);

    let host = FakeHost::new();
    host.answer("self", [row!["a", 2, "c", "d", "e"]]);
    let said = said(&host, |cx| sql::self_(cx, "/srv/a.db", "me", "kind", "context", "main").map(drop));
    assert!(said.starts_with("statement self: column type: text was expected, not "), "{said}");
}

#[test]
fn an_error_of_the_database_keeps_its_code_and_words() {
    let host = FakeHost::new();
    host.fail("limit_pages", "5", "database is locked");
    let error = check(&host, |cx| sql::limit_pages(cx, "/srv/a.db", 10)).expect_err("an error");
    assert_eq!((error.code(), error.message()), (Some("5"), Some("database is locked")));
    assert_eq!(error.to_string(), "statement limit_pages: 5 database is locked");

    let host = FakeHost::new();
    host.script("limit_pages", Err(StatementError::TimedOut));
    let error = check(&host, |cx| sql::limit_pages(cx, "/srv/a.db", 10)).expect_err("an error");
    assert!(matches!(error.cause(), Some(StatementError::TimedOut)));
    assert_eq!(error.context("check").to_string(), "check (statement limit_pages): no answer in time");
}
