//! What a process can still do that stands inside the engine's walls: this program starts itself once for each attempt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use stillpoint_contract::message::Landlock;
use stillpoint_engine::walls;

/// Which walls an attempt is made in.
const WALLS: [&str; 4] = ["none", "landlock", "seccomp", "all"];

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Refused,
    /// By seccomp.
    Killed,
}
use Ended::{Done, Killed, Refused};

/// Each attempt, and how it must end in none, landlock alone, seccomp alone, and all.
const ATTEMPTS: [(&str, [Ended; 4]); 17] = [
    ("read a file", [Done, Refused, Refused, Refused]),
    ("write a file", [Done, Refused, Refused, Refused]),
    ("list a folder", [Done, Refused, Refused, Refused]),
    ("read /proc", [Done, Refused, Refused, Refused]),
    ("look at a file", [Done, Done, Refused, Refused]),
    ("connect over TCP", [Done, Refused, Killed, Killed]),
    ("connect to an abstract socket", [Done, Refused, Killed, Killed]),
    ("connect to a socket of a path", [Done, Done, Killed, Killed]),
    ("signal its parent", [Done, Refused, Refused, Refused]),
    ("start a process", [Done, Refused, Refused, Refused]),
    ("become another program", [Done, Refused, Killed, Killed]),
    ("be traced", [Done, Done, Killed, Killed]),
    ("make a file in memory", [Done, Done, Refused, Refused]),
    ("duplicate a descriptor", [Done, Done, Refused, Refused]),
    ("raise a limit", [Done, Done, Refused, Refused]),
    // What an engine needs.
    ("start a thread", [Done, Done, Done, Done]),
    ("allocate", [Done, Done, Done, Done]),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("inside") => inside(&words[2], &words[3], &words[4..]),
        // As a harness does, for those who list tests.
        Some("--list") => ExitCode::SUCCESS,
        _ => outside(),
    }
}

fn outside() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("stillpoint-walls-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let path = folder.path().join("sock");
    let _path = UnixListener::bind(&path).unwrap();
    let mut wrong = 0;
    for (attempt, expected) in ATTEMPTS {
        for (walls, expected) in WALLS.into_iter().zip(expected) {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["inside", walls, attempt, &tcp.local_addr().unwrap().to_string(), &name]);
            let ended = child.arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
            let ended = match (ended.code(), ended.signal()) {
                (Some(0), _) => Ok(Done),
                (Some(1), _) => Ok(Refused),
                (_, Some(signal)) if signal == Signal::SIGSYS as i32 => Ok(Killed),
                _ => Err(ended),
            };
            let right = ended == Ok(expected);
            wrong += u32::from(!right);
            println!("walls: {walls}: {attempt}: {ended:?}{}", if right { "" } else { "  NOT AS IT MUST BE" });
        }
    }
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn inside(walls: &str, attempt: &str, places: &[String]) -> ExitCode {
    let raised = match walls {
        "none" => Ok(Landlock::Whole),
        "landlock" => walls::landlock(),
        "seccomp" => walls::seccomp().map(|()| Landlock::Whole),
        _ => walls::raise(),
    };
    if raised != Ok(Landlock::Whole) {
        eprintln!("the walls: {raised:?}; this test needs Linux 6.12 or later");
        return ExitCode::from(2);
    }
    if attempted(attempt, places) { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn attempted(attempt: &str, places: &[String]) -> bool {
    let folder = std::path::Path::new(&places[2]);
    match attempt {
        "read a file" => std::fs::read("/etc/passwd").is_ok(),
        "write a file" => std::fs::write(folder.join("written"), "x").is_ok(),
        "list a folder" => std::fs::read_dir("/").is_ok(),
        "read /proc" => std::fs::read("/proc/self/status").is_ok(),
        "look at a file" => std::fs::metadata("/etc/passwd").is_ok(),
        "connect over TCP" => TcpStream::connect(&places[0]).is_ok(),
        "connect to an abstract socket" => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(&places[1]).unwrap()).is_ok()
        }
        "connect to a socket of a path" => UnixStream::connect(folder.join("sock")).is_ok(),
        "signal its parent" => nix::sys::signal::kill(Pid::parent(), None).is_ok(),
        "start a process" => Command::new("/bin/true").status().is_ok(),
        "become another program" => {
            let why = Command::new("/bin/true").exec();
            eprintln!("{why}");
            false
        }
        "be traced" => nix::sys::ptrace::traceme().is_ok(),
        "make a file in memory" => rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).is_ok(),
        "duplicate a descriptor" => rustix::io::dup(std::io::stdin()).is_ok(),
        "raise a limit" => {
            let core = rustix::process::getrlimit(rustix::process::Resource::Core);
            rustix::process::setrlimit(rustix::process::Resource::Core, core).is_ok()
        }
        "start a thread" => std::thread::Builder::new().name("one".into()).spawn(|| 7).is_ok_and(|t| t.join().is_ok()),
        "allocate" => vec![1_u8; 64 << 20].iter().map(|b| usize::from(*b)).sum::<usize>() == 64 << 20,
        other => panic!("{other}"),
    }
}
