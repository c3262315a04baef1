//! What it costs to come from a bundle on disk to a module that can be called, part by part: each time everything is
//! read, verified and hashed anew, with all of it in the page cache.
//!
//! The programs are those that are shipped, and the code that verifies and finds is the host's. Only the few words to the
//! engine are said here instead of by a keeper, so that the time between them can be read.

use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stillpoint::compiled::{Compiled, Store};
use stillpoint::sys::launch::Launch;
use stillpoint::sys::sealed::sealed;
use stillpoint::sys::walls::{self, Walls};
use stillpoint::trust::{self, Verified};
use stillpoint_contract::message::{self, FromEngine, ToEngine};
use stillpoint_tests::dist;

use crate::cycle::microseconds;
use crate::figures::{Range, heading};

/// Rounds that are run first and not counted.
const WARM_UP: usize = 20;

/// The most that verifying and loading may take together, in microseconds.
const MOST: u64 = 5000;

/// Bytes of memory that an engine may write to: more than any needs, so that only time is measured.
const MEMORY: u64 = 2 << 30;

/// The parts, in their order. Those that are not counted towards the target have no star.
const PARTS: [(&str, &str); 5] = [
    ("verify", "verify *"),
    ("find", "find what is compiled *"),
    ("load", "load, instantiate *"),
    ("together", "* together"),
    ("start", "the engine's start"),
];

/// All figures of one module.
pub struct Measured {
    module: String,
    component: usize,
    artefact: usize,
    /// Compiling it, the once, in microseconds.
    compile_us: u64,
    /// In the order of [`PARTS`].
    parts: [Range; 5],
    /// What of `verify` is the component's digest.
    digest: Range,
}

/// Measures the modules of this project.
pub fn measure(programs: &Path, rounds: usize) -> Result<Vec<Measured>> {
    ["sqlite", "mariadb"].iter().map(|module| one(programs, module, rounds)).collect()
}

fn one(programs: &Path, name: &str, rounds: usize) -> Result<Measured> {
    eprintln!("measuring: {name}");
    let bundle = dist::bundle("modules", name);
    let verify = || verify(&bundle);
    let module = verify()?;
    let signed = module.manifest().wasm.as_ref().context("it was packaged")?;
    let folder = tempfile::tempdir()?;
    let store = Store::new(folder.path().join("compiled"));
    let (compile_us, compiled) = compile(programs, &module)?;
    store.keep(&signed.sha256, &compiled)?;

    let mut parts: [Vec<u64>; 5] = Default::default();
    let mut digest = Vec::new();
    for _ in 0..WARM_UP + rounds {
        let (verify_us, module) = timed(verify);
        let module = module?;
        let (digest_us, _) = timed(|| std::hint::black_box(Sha256::digest(module.wasm())));
        let (find_us, found) = timed(|| store.find(&signed.sha256));
        let found = found.context("nothing is kept")?;
        let (start_us, engine) = timed(|| Engine::start(programs, &found.artefact));
        let (load_us, loaded) = timed(|| engine?.load(&module, &found));
        drop(loaded?);
        for (part, us) in parts.iter_mut().zip([verify_us, find_us, load_us, verify_us + find_us + load_us, start_us]) {
            part.push(us);
        }
        digest.push(digest_us);
    }
    let range = |values: Vec<u64>| Range::of(values.into_iter().skip(WARM_UP));
    Ok(Measured {
        module: format!("{} {}", module.manifest().name, module.manifest().version),
        component: module.wasm().len(),
        artefact: compiled.artefact.len(),
        compile_us,
        parts: parts.map(range),
        digest: range(digest),
    })
}

fn timed<T>(what: impl FnOnce() -> T) -> (u64, T) {
    let began = Instant::now();
    let done = what();
    (microseconds(began.elapsed()), done)
}

/// The trust root, owner and mode of every file, all signatures, the manifest, the component's digest, the grant: as
/// before every cycle.
fn verify(bundle: &Path) -> Result<Verified> {
    let site = dist::dist().join("site");
    let verified = || {
        let root = trust::Root::read(&site.join("etc/trust"), site.join("lib/floors"))?;
        let module = trust::verify(bundle, &root)?;
        trust::grant::check(&site.join("etc/grants"), &module)?;
        Ok(module)
    };
    verified().map_err(|fault: stillpoint::fault::Fault| anyhow::anyhow!("{fault}"))
}

fn compile(programs: &Path, module: &Verified) -> Result<(u64, Compiled)> {
    let mut engine = Engine::start(programs, module.wasm())?;
    let size = module.wasm().len() as u64;
    let (us, compiled) = timed(|| match engine.ask(&ToEngine::Compile { size, imports: imports(module) })? {
        FromEngine::Compiled { size, compatibility } => {
            let mut artefact = vec![0; usize::try_from(size)?];
            engine.socket.read_exact(&mut artefact)?;
            Ok(Compiled { compatibility, artefact })
        }
        other => bail!("it said {other:?}"),
    });
    Ok((us, compiled?))
}

fn imports(module: &Verified) -> Vec<stillpoint_contract::manifest::Interface> {
    module.manifest().wasm.as_ref().map(|w| w.imports.clone()).unwrap_or_default()
}

/// An engine as a keeper starts one.
struct Engine {
    child: Child,
    socket: UnixStream,
}

impl Engine {
    /// From nothing to an engine whose walls stand and were looked at, with this in its sealed file.
    fn start(programs: &Path, content: &[u8]) -> Result<Engine> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let plan = Launch {
            program: programs.join("stillpoint-engine"),
            arguments: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            ids: None,
            keep: Vec::new(),
            parent: std::process::id().cast_signed(),
            group: None,
            walls: Some(Walls { memory: MEMORY }),
        };
        let child = Command::new(programs.join("stillpoint"))
            .args(["launch", &serde_json::to_string(&plan)?])
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(sealed(content, 0, 0)?)
            .stderr(Stdio::null())
            .spawn()?;
        let mut engine = Engine { child, socket };
        let said = engine.hear()?;
        ensure!(matches!(said, FromEngine::Walled(_)), "it said {said:?}");
        let missing = walls::missing(engine.child.id())?;
        ensure!(missing.is_empty(), "there is no {}", missing.join(", "));
        Ok(engine)
    }

    /// From the order to the instance that can be called.
    fn load(mut self, module: &Verified, found: &Compiled) -> Result<Engine> {
        let memory = u64::from(module.manifest().limits.memory_mib) << 20;
        let (size, compatibility) = (found.artefact.len() as u64, found.compatibility);
        let said = self.ask(&ToEngine::Load { size, memory, imports: imports(module), compatibility })?;
        ensure!(said == FromEngine::Ready, "it said {said:?}");
        Ok(self)
    }

    fn ask(&mut self, what: &ToEngine) -> Result<FromEngine> {
        message::write(&mut self.socket, what)?;
        self.hear()
    }

    fn hear(&mut self) -> Result<FromEngine> {
        message::read(&mut self.socket)?.context("the engine ended")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Measured {
    fn together(&self) -> Range {
        let [_, _, _, together, _] = self.parts;
        together
    }

    /// Nine rounds of ten are below.
    fn holds(&self) -> bool {
        self.together().p90 < MOST
    }
}

/// For people.
pub fn text(all: &[Measured]) -> String {
    let mut out = String::new();
    for measured in all {
        let Measured { module, component, artefact, .. } = measured;
        let _ = writeln!(out, "  {module}: a component of {component} bytes, compiled to {artefact}, in ms\n");
        let _ = writeln!(out, "{}", heading(""));
        for ((id, name), range) in PARTS.iter().zip(&measured.parts) {
            let _ = writeln!(out, "{}", range.line(name));
            if *id == "verify" {
                let _ = writeln!(out, "{}", measured.digest.line("  of it the digest"));
            }
        }
        let compile = Range::of([measured.compile_us]);
        let _ = writeln!(out, "{}", compile.line("compiled, the once"));
        let verdict = if measured.holds() { "✔ holds" } else { "✘ missed" };
        let _ = writeln!(out, "\n  * below {} ms in nine rounds of ten: {verdict}\n", MOST / 1000);
    }
    out + "  verify: the trust root, owner and mode, signatures, the manifest, the component's digest, the grant. The engine's start: a process, and its\n  \
           walls, up to its first word; it is not counted, nor the end of the process.\n"
}

/// For programs.
pub fn json(all: &[Measured]) -> Value {
    let one = |measured: &Measured| {
        let mut parts: serde_json::Map<String, Value> =
            PARTS.iter().zip(&measured.parts).map(|((id, _), range)| ((*id).to_owned(), range.json())).collect();
        parts.insert("digest".into(), measured.digest.json());
        json!({
            "module": measured.module, "component_bytes": measured.component, "artefact_bytes": measured.artefact,
            "compile_us": measured.compile_us, "ms": parts, "target_ms": MOST / 1000, "holds": measured.holds(),
        })
    };
    Value::Array(all.iter().map(one).collect())
}
