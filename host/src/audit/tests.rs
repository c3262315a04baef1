use std::path::Path;

use proptest::prelude::*;

use super::chain::{Chain, Head, kept, path, read, read_head};
use super::verify::{Report, Summary, judge};
use super::*;

fn begin(cycle: &str) -> Begin {
    Begin {
        version: VERSION,
        cycle: cycle.into(),
        after: None,
        stillpoint: "0".into(),
        configuration: "/c".into(),
        workloads: Vec::new(),
    }
}

fn event(n: usize) -> Entry {
    What::Event { event: format!("e{n}"), workload: None, text_sha256: None }.into()
}

fn the_end() -> Entry {
    let record = Record::of_a_lost_keeper("c", "a test", false, Vec::new());
    verdict(&record).into()
}

/// A whole cycle; gives its head.
fn cycle(folder: &Path, id: &str, entries: usize, keep: u32) -> String {
    let mut chain = Chain::begin(folder, begin(id), keep).unwrap();
    chain.append(&(0..entries).map(event).collect::<Vec<_>>()).unwrap();
    chain.append(&[the_end()]).unwrap();
    chain.settle().unwrap()
}

fn report(folder: &Path, asked: Option<&str>, under_way: bool) -> Report {
    let head: Option<Head> = read_head(folder).unwrap_or_default();
    let summary = |c: String| Summary::of(&c, &read(&path(folder, &c)).unwrap(), head.as_ref());
    judge(kept(folder).unwrap().into_iter().map(summary).collect(), head.as_ref(), asked, under_way)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_chain_goes_through_all_cycles_and_the_oldest_are_let_go() {
    let folder = folder();
    let heads: Vec<String> = (0..7).map(|n| cycle(folder.path(), &format!("c{n}"), n, 3)).collect();
    assert_eq!(kept(folder.path()).unwrap(), ["c4", "c5", "c6"]);
    for (n, head) in heads.iter().enumerate() {
        let report = report(folder.path(), Some(head), false);
        assert_eq!((report.is_good(), report.held.is_some()), (n > 3, n > 3), "{n}: {report:?}");
    }
    // Fewer than before: all that is too much goes at once.
    cycle(folder.path(), "c7", 0, 1);
    assert_eq!(kept(folder.path()).unwrap(), ["c7"]);
    assert!(report(folder.path(), None, false).is_good());
}

#[test]
fn a_record_without_an_end_is_ended_by_the_next_cycle() {
    let folder = folder();
    cycle(folder.path(), "a", 2, 9);
    let mut chain = Chain::begin(folder.path(), begin("b"), 9).unwrap();
    chain.append(&[event(1)]).unwrap();
    assert!(report(folder.path(), None, true).is_good());
    assert!(!report(folder.path(), None, false).is_good());
    // Its process died in the middle of a line.
    let whole = read(&path(folder.path(), "b")).unwrap();
    std::fs::write(path(folder.path(), "b"), [&whole[..], b"{\"previous\":\"12"].concat()).unwrap();
    assert!(!report(folder.path(), None, false).is_good());
    cycle(folder.path(), "c", 0, 9);
    let report = report(folder.path(), None, false);
    assert!(report.is_good(), "{report:?}");
    let text = String::from_utf8(read(&path(folder.path(), "b")).unwrap()).unwrap();
    assert!(text.contains("\"torn\":true") && text.contains("\"entry\":\"lost\""), "{text}");
}

#[test]
fn a_record_is_found_whenever_its_process_dies_while_it_begins() {
    let folder = folder();
    cycle(folder.path(), "a", 2, 9);
    let _ = Chain::begin(folder.path(), begin("b"), 9).unwrap();
    // As it is between naming it in `head` and giving it its name.
    std::fs::rename(path(folder.path(), "b"), folder.path().join(".begun")).unwrap();
    chain::end_newest(folder.path()).unwrap();
    assert!(report(folder.path(), None, false).is_good());
    assert_eq!(kept(folder.path()).unwrap(), ["a", "b"]);
}

#[test]
fn what_was_tampered_with_stays_so_when_the_next_cycle_begins() {
    let folder = folder();
    cycle(folder.path(), "a", 2, 9);
    let good = read(&path(folder.path(), "a")).unwrap();
    let cut = good.split_inclusive(|b| *b == b'\n').take(3).flatten().copied().collect::<Vec<_>>();
    std::fs::write(path(folder.path(), "a"), cut).unwrap();
    cycle(folder.path(), "b", 1, 9);
    assert!(!report(folder.path(), None, false).is_good());
    std::fs::write(path(folder.path(), "a"), good).unwrap();
    assert!(report(folder.path(), None, false).is_good());
}

#[test]
fn what_a_module_says_is_kept_as_a_plain_word_or_not_at_all() {
    let audit = Audit::default();
    for asked in ["drop_table", "SELECT secret", "s3cret", &"x".repeat(41), ""] {
        audit.refused("w", Phase::Check, asked, "not declared");
    }
    let entries = audit.0.entries.borrow();
    let asked = entries.iter().map(|e| match &e.what {
        What::Refusal { asked, asked_sha256, .. } => (asked.as_str(), asked_sha256.is_some()),
        other => panic!("{other:?}"),
    });
    assert_eq!(asked.collect::<Vec<_>>(), [("drop_table", false), ("", true), ("", true), ("", true), ("", true)]);
}

#[test]
fn refusals_are_counted_where_there_are_too_many() {
    let (folder, audit) = (folder(), Audit::default());
    audit.write_to(Chain::begin(folder.path(), begin("a"), 9).unwrap());
    for _ in 0..MOST_REFUSALS + 5 {
        audit.refused("w", Phase::Freeze, "x", "not declared");
    }
    audit.conclude(&Record::of_a_lost_keeper("a", "a test", false, Vec::new()));
    let head = audit.hand_over().unwrap().finish().unwrap();
    assert_eq!(read_head(folder.path()).unwrap().unwrap().hash, head);
    let text = String::from_utf8(read(&path(folder.path(), "a")).unwrap()).unwrap();
    assert_eq!(text.lines().filter(|l| l.contains("\"entry\":\"refusal\"")).count() as u64, MOST_REFUSALS);
    assert!(text.contains("\"entry\":\"more-refusals\",\"workload\":\"w\",\"count\":5"), "{text}");
}

/// What is done to a record.
#[derive(Debug, Clone, Copy)]
enum Tamper {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Double(prop::sample::Index),
    Delete,
    Exchange,
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 1u8..).prop_map(|(i, n)| Tamper::Flip(i, n)),
        at().prop_map(Tamper::Cut),
        at().prop_map(Tamper::Remove),
        (at(), at()).prop_map(|(i, j)| Tamper::Swap(i, j)),
        at().prop_map(Tamper::Double),
        Just(Tamper::Delete),
        Just(Tamper::Exchange),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to whichever of the cycles is seen, without a head that somebody else holds.
    #[test]
    fn whatever_is_changed_is_seen(lengths in prop::collection::vec(0usize..5, 1..4), which in any::<prop::sample::Index>(), how in tamper()) {
        let folder = folder();
        for (n, entries) in lengths.iter().enumerate() {
            cycle(folder.path(), &format!("c{n}"), *entries, 9);
        }
        prop_assert!(report(folder.path(), None, false).is_good());
        let file = path(folder.path(), &format!("c{}", which.index(lengths.len())));
        let good = read(&file).unwrap();
        let mut lines: Vec<&[u8]> = good.split_inclusive(|b| *b == b'\n').collect();
        let count = lines.len();
        let bad = match how {
            Tamper::Flip(i, n) => {
                let mut bad = good.clone();
                bad[i.index(good.len())] ^= n;
                bad
            }
            Tamper::Cut(i) => good[..i.index(good.len())].to_vec(),
            Tamper::Remove(i) => {
                lines.remove(i.index(count));
                lines.concat()
            }
            Tamper::Swap(i, j) => {
                lines.swap(i.index(count), j.index(count));
                lines.concat()
            }
            Tamper::Double(i) => {
                lines.insert(i.index(count), lines[i.index(count)]);
                lines.concat()
            }
            Tamper::Delete => {
                std::fs::remove_file(&file).unwrap();
                prop_assert!(!report(folder.path(), None, false).is_good());
                return Ok(());
            }
            Tamper::Exchange => read(&path(folder.path(), "c0")).unwrap(),
        };
        std::fs::write(&file, &bad).unwrap();
        prop_assert_eq!(report(folder.path(), None, false).is_good(), bad == good);
    }

    /// Who is root can write a whole chain anew: then the head of the old one is not found.
    #[test]
    fn a_chain_written_anew_has_another_head(cycles in 1usize..4) {
        let (one, other) = (folder(), folder());
        let heads: Vec<String> = (0..cycles).map(|n| cycle(one.path(), &format!("c{n}"), 2, 9)).collect();
        for n in 0..cycles {
            cycle(other.path(), &format!("c{n}"), 1, 9);
        }
        prop_assert!(report(other.path(), None, false).is_good());
        for head in heads {
            prop_assert!(report(one.path(), Some(&head), false).is_good());
            prop_assert!(!report(other.path(), Some(&head), false).is_good());
        }
    }
}
