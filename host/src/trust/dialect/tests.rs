use super::*;

/// The worst that is said of a text.
fn worst(dialect: Dialect, text: &str, effect: Effect) -> (Option<Severity>, String) {
    let doubts = dialect.judge_text(text, effect).doubts;
    (doubts.iter().map(|(s, _)| *s).min(), format!("{doubts:?}"))
}

fn is_danger(dialect: Dialect, text: &str, effect: Effect) {
    let (severity, said) = worst(dialect, text, effect);
    assert_eq!(severity, Some(Severity::Danger), "{text}: {said}");
}

fn is_seen(dialect: Dialect, text: &str, effect: Effect) {
    let (severity, said) = worst(dialect, text, effect);
    assert!(severity <= Some(Severity::Look) && severity.is_some(), "{text}: {said}");
}

fn is_good(dialect: Dialect, text: &str, effect: Effect) {
    let (severity, said) = worst(dialect, text, effect);
    assert_eq!(severity, None, "{text}: {said}");
}

#[test]
fn a_read_that_is_one_is_good() {
    for (dialect, text) in [
        (Dialect::MySql, "SELECT VERSION()"),
        (
            Dialect::MySql,
            "SELECT `insert`, 'sleep(1) INTO OUTFILE', REPLACE(@@datadir, 'a', 'b') FROM information_schema.tables",
        ),
        (Dialect::MySql, "SELECT SUBSTRING('abc' FROM 1 FOR 2)"),
        (Dialect::MySql, "WITH a AS (SELECT @@port) SELECT * FROM a"),
        (Dialect::MySql, "SHOW MASTER STATUS"),
        (Dialect::Sqlite, "PRAGMA data_version"),
        (Dialect::Sqlite, "PRAGMA main.journal_mode"),
        (Dialect::Sqlite, "SELECT name FROM sqlite_master"),
        (Dialect::Postgres, "SELECT pg_is_in_recovery(), pg_catalog.version()"),
        (Dialect::Postgres, "SELECT setting FROM pg_settings WHERE name = 'data_directory'"),
        (Dialect::Postgres, "SHOW data_directory"),
        (Dialect::Oracle, "SELECT name FROM v$datafile"),
        (Dialect::Redis, "INFO persistence"),
        (Dialect::Redis, "LASTSAVE"),
        (Dialect::Firebird, "SELECT MON$BACKUP_STATE FROM MON$DATABASE"),
    ] {
        is_good(dialect, text, Effect::Read);
    }
}

/// Each hides from a reviewer, or from a simple check, that it does something.
#[test]
fn a_read_that_does_more_is_a_danger_however_it_is_written() {
    use Dialect::{Firebird, MySql, Oracle, Postgres, Redis, Sqlite};
    for (dialect, text) in [
        // Functions: by case, space, comment, quotes, schema, nesting.
        (Postgres, "SELECT pg_backup_start('x')"),
        (Postgres, "SELECT Pg_Backup_START ('x')"),
        (Postgres, "SELECT/**/pg_switch_wal()"),
        (Postgres, "SELECT pg_switch_wal/**/()"),
        (Postgres, "SELECT \"pg_terminate_backend\"(1)"),
        (Postgres, "SELECT pg_catalog.pg_read_file('/etc/shadow')"),
        (Postgres, "SELECT \"pg_catalog\".\"lo_import\"('/etc/shadow')"),
        (Postgres, "WITH a AS (SELECT version()) SELECT (SELECT set_config('a.b', 'c', false)) FROM a"),
        (Postgres, "SELECT 1 UNION SELECT nextval('s')"),
        (Postgres, "SELECT 1 FROM pg_class WHERE pg_advisory_lock(1) IS NULL"),
        (Postgres, "SELECT query_to_xml('DELETE FROM t', true, true, '')"),
        (Postgres, "SELECT U&\"pg!005fswitch_wal\" UESCAPE '!' ()"),
        (Postgres, r"SELECT E'\' , pg_switch_wal(), '"),
        (Postgres, "SELECT $a$ $a$, pg_switch_wal(), $b$ $b$"),
        (Postgres, "SELECT * FROM dblink_fdw_x"),
        (Postgres, "SELECT 1 FROM pg_shadow"),
        // Clauses.
        (Postgres, "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d"),
        (Postgres, "SELECT * INTO t FROM pg_class"),
        (Postgres, "SELECT 1 FROM pg_class FOR NO KEY UPDATE"),
        (Postgres, "EXPLAIN ANALYZE SELECT 1"),
        (Postgres, "EXPLAIN (ANALYZE) SELECT 1"),
        (Postgres, "COPY t TO PROGRAM 'sh'"),
        (Postgres, r"SELECT 1 \g |sh"),
        (Postgres, "DO $$BEGIN PERFORM 1$$"),
        (MySql, "SELECT VERSION(), GET_LOCK('a', 1)"),
        (MySql, "SELECT VERSION() /*!50000 , LOAD_FILE('/etc/passwd') */"),
        (MySql, "SELECT VERSION() /*M! , LOAD_FILE('/etc/passwd') */"),
        (MySql, "SELECT /*+ SET_VAR(sql_log_bin=0) */ VERSION()"),
        (MySql, "SELECT @@version INTO @a"),
        (MySql, "SELECT 'x' INTO/**/OUTFILE '/tmp/a'"),
        (MySql, "SELECT 1 FROM information_schema.tables FOR UPDATE"),
        (MySql, "SELECT 1 FROM information_schema.tables LOCK IN SHARE MODE"),
        (MySql, "SELECT NEXT VALUE FOR s"),
        (MySql, r"SELECT '\' , sleep(1) , '"),
        (MySql, "SELECT sys_exec('id')"),
        (MySql, "SELECT `sys_eval`('id')"),
        (MySql, "SELECT authentication_string FROM mysql.user"),
        (MySql, "SELECT host FROM `mysql`.`global_priv`"),
        (MySql, "SHOW GRANTS"),
        (MySql, "ANALYZE SELECT 1"),
        (MySql, "HANDLER t OPEN"),
        (MySql, "SYSTEM id"),
        (MySql, "source /tmp/x"),
        (MySql, "DELIMITER //"),
        (MySql, "SELECT v\u{435}rsion()"),
        (MySql, "SELECT 1; DROP TABLE t"),
        (Sqlite, "SELECT load_extension('x')"),
        (Sqlite, "SELECT [writefile]('a', 'b')"),
        (Sqlite, "SELECT * FROM fsdir WHERE path = '/etc'"),
        (Sqlite, "PRAGMA journal_mode = DELETE"),
        (Sqlite, "PRAGMA journal_mode(DELETE)"),
        (Sqlite, "PRAGMA main . \"writable_schema\" = 1"),
        (Sqlite, "PRAGMA wal_checkpoint"),
        (Sqlite, "PRAGMA optimize"),
        (Sqlite, "SELECT * FROM pragma_optimize"),
        (Postgres, "SELECT {name} (1)"),
        (Sqlite, "WITH a AS (SELECT 1) DELETE FROM t"),
        (Sqlite, "ATTACH '/tmp/a' AS b"),
        (Oracle, "SELECT UTL_HTTP.REQUEST('http://a') FROM dual"),
        (Oracle, "SELECT sys.dbms_scheduler.x FROM dual"),
        (Oracle, "SELECT s.NEXTVAL FROM dual"),
        (Oracle, "SELECT q'[it's]', 'a' FROM dual"),
        (Oracle, "HOST id"),
        (Oracle, "BEGIN NULL"),
        (Redis, "CONFIG SET dir /tmp"),
        (Redis, "EVAL 'x' 0"),
        (Redis, "DEBUG SLEEP 100"),
        (Firebird, "SHELL id"),
        (Firebird, "SELECT GEN_ID(g, 1) FROM RDB$DATABASE"),
    ] {
        is_danger(dialect, text, Effect::Read);
    }
}

#[test]
fn what_is_not_known_is_said_to_be_unknown() {
    for (dialect, text) in [
        (Dialect::MySql, "SELECT sys.format_path(@@datadir)"),
        (Dialect::MySql, "SELECT shop.version()"),
        (Dialect::MySql, "SELECT `in`(1)"),
        (Dialect::MySql, "SELECT \"my_function\" (1)"),
        (Dialect::MySql, "SELECT 1.e(my_function(1))"),
        (Dialect::MySql, "SELECT @a := 1"),
        (Dialect::MySql, "SELECT card FROM shop.cards"),
        (Dialect::MySql, "SELECT 1 FROM information_schema.tables, shop.cards"),
        (Dialect::MySql, "SELECT 1 FROM information_schema.tables AS t JOIN (shop.cards) ON 1"),
        (Dialect::MySql, "SELECT 1 UNION TABLE_x() FROM cards"),
        (Dialect::MySql, "SELECT 1 -- sleep"),
        (Dialect::Postgres, "SELECT public.version()"),
        (Dialect::Postgres, "TABLE cards"),
        (Dialect::Sqlite, "SELECT a FROM cards"),
        (Dialect::Sqlite, "SELECT 1 FROM {table}"),
    ] {
        is_seen(dialect, text, Effect::Read);
    }
}

#[test]
fn a_session_statement_touches_our_session_alone() {
    use Dialect::{MySql, Postgres, Sqlite};
    for (dialect, text) in [
        (MySql, "SET SESSION lock_wait_timeout = {n}, SESSION wait_timeout = {n}"),
        (MySql, "SET @@session.lock_wait_timeout = 5"),
        (Postgres, "SET lock_timeout TO {n}"),
        (Sqlite, "PRAGMA busy_timeout = {n}"),
    ] {
        is_good(dialect, text, Effect::Session);
    }
    for (dialect, text) in [
        (MySql, "SET SESSION lock_wait_timeout = 5, GLOBAL general_log_file = '/var/www/x.php'"),
        (MySql, "SET SESSION lock_wait_timeout = 5, @@global.general_log = 1"),
        (MySql, "SET GLOBAL lock_wait_timeout = 5, wait_timeout = 6"),
        (MySql, "SET PERSIST lock_wait_timeout = 5"),
        (MySql, "SET SESSION lock_wait_timeout = 5, @@`global`.x = 1, @@GLOBAL . general_log = 1"),
        (MySql, "SET STATEMENT lock_wait_timeout = 5 FOR DELETE FROM t"),
        (MySql, "SET PASSWORD = 'x'"),
        (MySql, "SET PASSWORD FOR root = PASSWORD('x')"),
        (MySql, "SET ROLE admin"),
        (MySql, "SET NAMES 'gbk'"),
        (MySql, "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'"),
        (MySql, "SET SESSION lock_wait_timeout = 5, SESSION sql_log_bin = 0"),
        (MySql, "PREPARE s FROM 'DROP TABLE t'"),
        (MySql, "EXECUTE IMMEDIATE CONCAT('DR', 'OP TABLE t')"),
        (Postgres, "SET search_path = evil"),
        (Postgres, "SET SESSION AUTHORIZATION postgres"),
        (Postgres, "SET ROLE postgres"),
        (Postgres, "SELECT set_config('search_path', 'evil', false)"),
        (Sqlite, "PRAGMA writable_schema = 1"),
        (Sqlite, "PRAGMA trusted_schema(1)"),
    ] {
        is_danger(dialect, text, Effect::Session);
    }
    for text in ["SET SESSION x = 1", "SET SESSION {name} = 1", "SET SESSION wait_timeout = (SELECT 1)", "SET @a = 'x'"]
    {
        is_seen(MySql, text, Effect::Session);
    }
}

#[test]
fn what_is_broader_than_a_backup_is_a_danger_whatever_is_declared() {
    for effect in [Effect::Session, Effect::Change, Effect::Freeze, Effect::Undo, Effect::Cancel] {
        for text in [
            "GRANT ALL ON *.* TO a",
            "CREATE USER a",
            "DROP TABLE t",
            "DELETE FROM t",
            "UPDATE t SET a = 1",
            "INSERT INTO t VALUES (1)",
            "ALTER TABLE t",
            "TRUNCATE t",
            "SHUTDOWN",
            "INSTALL SONAME 'x'",
            "LOAD DATA INFILE 'x' INTO TABLE t",
            "CALL p()",
            "DO SLEEP(1)",
        ] {
            is_danger(Dialect::MySql, text, effect);
        }
    }
    is_danger(Dialect::MySql, "BACKUP STAGE BLOCK_COMMIT", Effect::Change);
    is_danger(Dialect::MySql, "KILL {id}, 1; x", Effect::Cancel);
    is_seen(Dialect::MySql, "KILL QUERY {id}", Effect::Cancel);
    is_seen(Dialect::MySql, "FLUSH PRIVILEGES", Effect::Change);
}

#[test]
fn an_answer_that_asks_nothing_is_constant() {
    for text in [
        "SELECT 1",
        "select 'a' AS b",
        "SELECT \"1\"",
        "SELECT (1 + 2), NULL",
        "SELECT 1 FROM dual",
        "SELECT/*x*/1",
        "DO 0",
        "VALUES (1)",
    ] {
        assert!(Dialect::MySql.is_constant(text), "{text}");
    }
    assert!(Dialect::Firebird.is_constant("SELECT 1 FROM RDB$DATABASE"));
    for text in
        ["SELECT @@read_only", "SELECT CONNECTION_ID()", "SELECT a FROM t", "SHOW MASTER STATUS", "UNLOCK TABLES"]
    {
        assert!(!Dialect::MySql.is_constant(text), "{text}");
    }
}

proptest::proptest! {
    /// Whatever its bytes: a page that cannot be built would hide the module.
    #[test]
    fn no_text_stops_the_judge(text in "(select|set|pragma|from|with|global|[a-z]{1,3}|[0-9.]{1,3}|[ ,=:.@;()'\"`#$*/{}\\[\\]!&-]|\u{430}){0,24}") {
        for dialect in [Dialect::Sqlite, Dialect::MySql, Dialect::Postgres, Dialect::Oracle, Dialect::Redis, Dialect::Firebird, Dialect::Unknown] {
            for effect in [Effect::Read, Effect::Session, Effect::Change, Effect::Freeze, Effect::Undo, Effect::Cancel] {
                dialect.judge_text(&text, effect);
            }
            dialect.is_constant(&text);
        }
    }
}
