//! What is kept compiled between cycles: it is used, and whatever was done to it, a cycle goes on as if it were not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint_tests::missing::is_root;
use stillpoint_tests::program::succeed;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::tmpfs::Tmpfs;
use tempfile::TempDir;

/// A database, and an installation with it as the workload of these modules.
struct Scene {
    site: Site,
    _data: TempDir,
}

impl Scene {
    fn of(modules: &[&str]) -> Scene {
        let data = tempfile::tempdir().unwrap();
        let mut configuration = String::new();
        for (number, module) in modules.iter().enumerate() {
            let file = data.path().join(format!("{number}.db"));
            sqlite::make(&file, Journal::Wal);
            configuration += &format!("[workload w{number}]\nworkload_name = {module}\ndbnames = {}\n", file.display());
        }
        let site = Site::with(&configuration);
        // As if nothing had been compiled when the modules were installed.
        std::fs::remove_dir_all(site.path("lib/compiled")).unwrap();
        Scene { site, _data: data }
    }

    /// One workload, whose module was compiled by a first check.
    fn compiled() -> (Scene, PathBuf) {
        let scene = Scene::of(&["sqlite"]);
        scene.check();
        let [file] = &scene.kept()[..] else { panic!("one file is kept: {:?}", scene.kept()) };
        (scene, file.clone())
    }

    fn folder(&self) -> PathBuf {
        self.site.path("lib/compiled")
    }

    /// The files of components.
    fn kept(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.folder()).into_iter().flatten().map(|e| e.unwrap().path());
        let mut out: Vec<PathBuf> = all.filter(|p| p.file_name().is_some_and(|n| n.len() == 64)).collect();
        out.sort();
        out
    }

    /// It passes. What it says to people.
    fn check(&self) -> String {
        let said = self.site.json(&["check"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        said.text
    }

    /// A cycle that freezes and is consistent.
    fn cycle(&self) {
        let said = self.site.json(&["run", "--", "true"]);
        assert_eq!((said.code, said.json["verdict"].as_str()), (Some(0), Some("application-consistent")), "{said:?}");
    }
}

/// Which file it is, and when it was last written.
fn identity(file: &Path) -> (u64, i64, i64) {
    let meta = file.symlink_metadata().unwrap();
    (meta.ino(), meta.mtime(), meta.mtime_nsec())
}

/// Its first line, in words, and the artefact.
fn parts(content: &[u8]) -> (Vec<String>, Vec<u8>) {
    let end = content.iter().position(|b| *b == b'\n').unwrap();
    let line = String::from_utf8(content[..end].to_vec()).unwrap();
    (line.split(' ').map(str::to_owned).collect(), content[end + 1..].to_vec())
}

/// A file that is whole in itself: artefact and digest fit.
fn whole(mut words: Vec<String>, artefact: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, artefact).unwrap();
    let digest = succeed(Command::new("sha256sum").arg(file.path()), "");
    words[4] = digest.split_whitespace().next().unwrap().to_owned();
    words[5] = artefact.len().to_string();
    [words.join(" ").as_bytes(), b"\n", artefact].concat()
}

#[test]
fn the_second_cycle_compiles_nothing() {
    let (scene, file) = Scene::compiled();
    let folder = scene.folder().metadata().unwrap();
    assert_eq!((folder.mode() & 0o777, file.metadata().unwrap().mode() & 0o777), (0o700, 0o600));
    assert_eq!(folder.uid(), nix::unistd::geteuid().as_raw());
    let digest = succeed(Command::new("sha256sum").arg(scene.site.module("sqlite").join("module.wasm")), "");
    assert!(digest.starts_with(file.file_name().unwrap().to_str().unwrap()), "{digest}");
    let before = identity(&file);
    scene.cycle();
    scene.check();
    assert_eq!((identity(&file), scene.kept().len()), (before, 1));
}

/// Whoever is root may replace what is kept, whole; so a cycle shows which one was run: here another module's.
#[test]
fn what_is_kept_is_what_runs() {
    let (scene, file) = Scene::compiled();
    let other = Scene::of(&["hostile"]);
    other.site.install_guest("fails-in-check");
    assert_ne!(other.site.json(&["check"]).code, Some(0));
    let (_, artefact) = parts(&std::fs::read(&other.kept()[0]).unwrap());
    let (words, _) = parts(&std::fs::read(&file).unwrap());
    std::fs::write(&file, whole(words, &artefact)).unwrap();
    let said = scene.site.json(&["check"]);
    said.assert_fault(4, "SP-DB-014");
    assert!(said.text.contains("this one always fails"), "{}", said.text);
}

/// What was done to a file; it gets its path and what a good one holds.
type Harm = fn(&Path, &[u8]);

fn flip(file: &Path, good: &[u8], at: usize) {
    let mut bad = good.to_vec();
    bad[at] ^= 1;
    std::fs::write(file, bad).unwrap();
}

const HARM: [(&str, Harm); 14] = [
    ("a byte of the artefact", |file, good| flip(file, good, good.len() / 2)),
    ("its last byte", |file, good| flip(file, good, good.len() - 1)),
    ("the format", |file, good| flip(file, good, 0)),
    ("the component's digest", |file, good| flip(file, good, 30)),
    ("the engine's digest", |file, good| flip(file, good, 100)),
    ("its own digest", |file, good| flip(file, good, 170)),
    ("truncated", |file, good| std::fs::write(file, &good[..good.len() - 1]).unwrap()),
    ("no more than its first line", |file, good| {
        let line = good.iter().position(|b| *b == b'\n').unwrap();
        std::fs::write(file, &good[..=line]).unwrap();
    }),
    ("empty", |file, _| std::fs::write(file, "").unwrap()),
    ("another engine's", |file, good| {
        let (mut words, artefact) = parts(good);
        words[3] = "ab".repeat(32);
        std::fs::write(file, whole(words, &artefact)).unwrap();
    }),
    ("whole, and no artefact", |file, good| {
        let (words, _) = parts(good);
        std::fs::write(file, whole(words, &[0x5a; 4096])).unwrap();
    }),
    ("its group may write", |file, _| {
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o620)).unwrap();
    }),
    ("a link", |file, _| {
        let to = file.with_extension("elsewhere");
        std::fs::rename(file, &to).unwrap();
        symlink(to, file).unwrap();
    }),
    ("a pipe", |file, _| {
        std::fs::remove_file(file).unwrap();
        succeed(Command::new("mkfifo").arg(file), "");
    }),
];

/// In each case the cycle goes on, and afterwards the file is the good one again: it was compiled anew.
#[test]
fn what_was_tampered_with_is_compiled_again() {
    let (scene, file) = Scene::compiled();
    let good = std::fs::read(&file).unwrap();
    let repaired = |what: &str| {
        let meta = file.symlink_metadata().unwrap();
        assert!(meta.is_file() && meta.mode() & 0o777 == 0o600, "{what}: {meta:?}");
        assert!(std::fs::read(&file).unwrap() == good, "{what}: it is not the good one again");
    };
    for (what, harm) in HARM {
        harm(&file, &good);
        let before = identity(&file);
        let said = scene.check();
        assert!(!said.contains("cannot be kept"), "{what}: {said}");
        repaired(what);
        assert_ne!(identity(&file), before, "{what}: it was used");
    }
    // By a keeper it is the same.
    for (what, harm) in [HARM[0], HARM[9]] {
        harm(&file, &good);
        scene.cycle();
        repaired(what);
    }
    if is_root("what_was_tampered_with_is_compiled_again", "it needs root, to give a file away") {
        std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
        scene.check();
        repaired("somebody else's");
        assert_eq!(file.metadata().unwrap().uid(), 0);
    }
}

#[test]
fn another_modules_file_is_not_taken() {
    let scene = Scene::of(&["sqlite", "hostile"]);
    scene.site.install_guest("freezes-nothing");
    scene.check();
    let [one, other] = &scene.kept()[..] else { panic!("two files are kept: {:?}", scene.kept()) };
    let good = std::fs::read(one).unwrap();
    std::fs::copy(other, one).unwrap();
    scene.check();
    assert!(std::fs::read(one).unwrap() == good);
}

/// Two that compile the same at the same time do each other no harm.
#[test]
fn two_workloads_of_one_module_share_what_is_kept() {
    let scene = Scene::of(&["sqlite", "sqlite", "sqlite"]);
    scene.cycle();
    let before: Vec<_> = scene.kept().iter().map(|p| identity(p)).collect();
    scene.cycle();
    let after: Vec<_> = scene.kept().iter().map(|p| identity(p)).collect();
    assert_eq!((before.len(), before), (1, after));
}

/// It costs a cycle its time, and nothing else; and the operator is told.
#[test]
fn what_cannot_be_kept_is_used_all_the_same() {
    let told = |scene: &Scene, what: &str| {
        let said = scene.check();
        assert!(said.contains("cannot be kept"), "{what}: {said}");
        scene.cycle();
    };
    let scene = Scene::of(&["sqlite"]);
    std::fs::write(scene.folder(), "").unwrap();
    told(&scene, "a file in the place of the folder");

    let (scene, file) = Scene::compiled();
    let before = identity(&file);
    std::fs::set_permissions(scene.folder(), PermissionsExt::from_mode(0o770)).unwrap();
    told(&scene, "a folder in which others may write");
    assert_eq!(identity(&file), before, "others may write there, so we do not");

    let scene = Scene::of(&["sqlite"]);
    let folder = scene.folder();
    std::fs::create_dir(&folder).unwrap();
    let test = "what_cannot_be_kept_is_used_all_the_same";
    let Some(_read_only) = Tmpfs::mount(test, &folder, "ro,mode=700") else { return };
    told(&scene, "a disk that is read-only");
    assert!(scene.kept().is_empty());
}
