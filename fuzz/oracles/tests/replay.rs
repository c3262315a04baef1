//! Everything that a fuzzer has ever kept, on the stable compiler: each corpus, and each input that once broke a promise.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use stillpoint_oracles::{ORACLES, Oracle};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// The inputs that break a promise, of all in this folder.
fn broken(folder: &Path, oracle: Oracle) -> Vec<PathBuf> {
    let breaks = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        catch_unwind(|| oracle(&bytes)).is_err()
    };
    names(folder).iter().map(|n| folder.join(n)).filter(breaks).collect()
}

#[test]
fn no_input_that_was_ever_kept_breaks_a_promise() {
    let found: Vec<PathBuf> = ORACLES
        .iter()
        .flat_map(|(name, oracle)| {
            let folders = [fuzz().join("corpus").join(name), fuzz().join("regressions").join(name)];
            assert!(!names(&folders[0]).is_empty(), "{name} has no corpus");
            folders.map(|f| broken(&f, *oracle)).into_iter().flatten()
        })
        .collect();
    assert!(found.is_empty(), "these break a promise; what it says stands above: {found:#?}");
}

#[test]
fn every_target_has_its_oracle_and_nothing_is_left_out() {
    let known: BTreeSet<String> = ORACLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets = names(&fuzz().join("targets")).iter().map(|n| n.replace(".rs", "")).collect();
    assert_eq!(known, targets, "targets");
    assert_eq!(known, names(&fuzz().join("corpus")), "corpora");
    assert!(names(&fuzz().join("regressions")).is_subset(&known), "regressions of no target");
}

/// The entries of the ledger may change: then its corpus must hold some of the new kind, such as the ledger of a cycle
/// that was killed.
#[test]
fn the_ledgers_corpus_still_arms_something() {
    let folder = fuzz().join("corpus/ledger");
    let arms = |name: &String| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        stillpoint_oracles::ledger::armed(&bytes) > 0
    };
    assert!(names(&folder).iter().any(arms), "copy a ledger with an armed entry to {}", folder.display());
}
