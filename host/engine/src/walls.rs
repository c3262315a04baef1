//! The last walls round the engine, which it raises itself, before it reads one byte and while it has one thread.
//!
//! A module that breaks out of WebAssembly finds a process that can compute, allocate, and speak over the descriptors it
//! has: no file, no other process, no network, nothing to start. Identity, capabilities and most limits were settled
//! before this program began, by `stillpoint launch`.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition as Condition, SeccompFilter,
    SeccompRule, apply_filter,
};
use stillpoint_contract::message::Landlock;

/// The newest landlock whose every right is taken away; of an older kernel's, all that it has.
const NEWEST: ABI = ABI::V6;

/// Raises all of them, for good. Nothing can be opened from here on.
///
/// # Errors
/// In words: which wall could not be raised. Only landlock may be missing.
pub fn raise() -> Result<Landlock, String> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| format!("not dumpable: {e}"))?;
    let landlock = landlock()?;
    // What is open stays open; nothing more can be.
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: Some(0) }).map_err(|e| format!("rlimit: {e}"))?;
    seccomp()?;
    Ok(landlock)
}

/// Landlock without a rule: no file, no TCP, no abstract socket of others, no signal to others.
///
/// # Errors
/// In words.
pub fn landlock() -> Result<Landlock, String> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|r| r.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|r| r.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|e| format!("landlock: {e}"))?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Whole,
        RulesetStatus::PartiallyEnforced => Landlock::Partly,
        RulesetStatus::NotEnforced => Landlock::Missing,
    })
}

/// Seccomp: what an engine needs is allowed, all else fails with `EPERM`, and what only an intruder would try ends it.
///
/// # Errors
/// In words.
pub fn seccomp() -> Result<(), String> {
    // Where filters disagree, the harshest holds.
    let no_such = rules([(libc::SYS_clone3, Vec::new())])?;
    let filters = [
        (rules(allowed()?)?, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow),
        (rules(DEADLY.map(|call| (call, Vec::new())))?, SeccompAction::Allow, SeccompAction::KillProcess),
        // Its flags lie in memory, where no filter sees them; libc then uses `clone`.
        (no_such, SeccompAction::Allow, SeccompAction::Errno(errno(libc::ENOSYS))),
    ];
    let words = |e: &dyn std::fmt::Display| format!("seccomp: {e}");
    let architecture = std::env::consts::ARCH.try_into().map_err(|e: seccompiler::BackendError| words(&e))?;
    let mut programs = Vec::new();
    // All are made before one is in force, and the first of them, which allows no further one, is the last to be.
    for (rules, otherwise, matching) in filters {
        let filter = SeccompFilter::new(rules, otherwise, matching, architecture).map_err(|e| words(&e))?;
        programs.push(seccompiler::BpfProgram::try_from(filter).map_err(|e| words(&e))?);
    }
    programs.iter().rev().try_for_each(|program| apply_filter(program).map_err(|e| words(&e)))
}

/// A new program or process, another's memory, a socket, or a part of the kernel that escapes begin with.
const DEADLY: [libc::c_long; 16] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_keyctl,
    libc::SYS_add_key,
];

/// What threads, memory, signals, clocks and one socket need. A call stands once for each form that is allowed.
fn allowed() -> Result<Vec<(libc::c_long, Vec<Condition>)>, String> {
    let word = |argument, is, value: libc::c_int| {
        let value = u64::from(value.cast_unsigned());
        Condition::new(argument, Length::Dword, is, value).map_err(|e| format!("seccomp: {e}"))
    };
    // These bits of the argument are exactly so.
    let bits =
        |argument, mask: libc::c_int, value| word(argument, Is::MaskedEq(u64::from(mask.cast_unsigned())), value);
    let none = |argument| Condition::new(argument, Length::Qword, Is::Eq, 0).map_err(|e| format!("seccomp: {e}"));
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    Ok(vec![
        // The socket and the component. Without an address, and without descriptors.
        (libc::SYS_recvfrom, vec![]),
        (libc::SYS_sendto, vec![none(4)?]),
        (libc::SYS_read, vec![]),
        (libc::SYS_write, vec![]),
        (libc::SYS_pread64, vec![]),
        (libc::SYS_close, vec![]),
        (libc::SYS_fcntl, vec![word(1, Is::Eq, libc::F_GETFD)?]),
        // Memory: of no file, and never to be written and run at the same time.
        (libc::SYS_mmap, vec![bits(3, libc::MAP_ANONYMOUS, libc::MAP_ANONYMOUS)?, bits(2, libc::PROT_EXEC, 0)?]),
        (libc::SYS_mprotect, vec![bits(2, libc::PROT_EXEC, 0)?]),
        (libc::SYS_mprotect, vec![bits(2, libc::PROT_WRITE, 0)?]),
        (libc::SYS_munmap, vec![]),
        (libc::SYS_mremap, vec![]),
        (libc::SYS_madvise, vec![]),
        (libc::SYS_brk, vec![]),
        (libc::SYS_membarrier, vec![]),
        // Threads, of this process alone.
        (libc::SYS_clone, vec![bits(0, thread | namespaces, thread)?]),
        // Refused as unknown by the filter for it.
        (libc::SYS_clone3, vec![]),
        (libc::SYS_futex, vec![]),
        (libc::SYS_set_robust_list, vec![]),
        (libc::SYS_rseq, vec![]),
        (libc::SYS_sched_yield, vec![]),
        (libc::SYS_sched_getaffinity, vec![]),
        (libc::SYS_prctl, vec![word(0, Is::Eq, libc::PR_SET_NAME)?]),
        (libc::SYS_gettid, vec![]),
        (libc::SYS_getpid, vec![]),
        (libc::SYS_exit, vec![]),
        (libc::SYS_exit_group, vec![]),
        // Signals: its own traps, and its own end.
        (libc::SYS_rt_sigaction, vec![]),
        (libc::SYS_rt_sigprocmask, vec![]),
        (libc::SYS_rt_sigreturn, vec![]),
        (libc::SYS_sigaltstack, vec![]),
        (libc::SYS_tgkill, vec![word(0, Is::Eq, own)?]),
        (libc::SYS_restart_syscall, vec![]),
        // Clocks and random numbers.
        (libc::SYS_clock_gettime, vec![]),
        (libc::SYS_clock_nanosleep, vec![]),
        (libc::SYS_nanosleep, vec![]),
        (libc::SYS_getrandom, vec![]),
        // Limits are asked for, where a thread finds its stack, and never changed.
        (libc::SYS_prlimit64, vec![none(2)?]),
    ])
}

/// Calls and the conditions under which each is meant; without conditions it always is.
fn rules(
    calls: impl IntoIterator<Item = (libc::c_long, Vec<Condition>)>,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut out: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, conditions) in calls {
        let forms = out.entry(call).or_default();
        if !conditions.is_empty() {
            forms.push(SeccompRule::new(conditions).map_err(|e| format!("seccomp: {e}"))?);
        }
    }
    Ok(out)
}

fn errno(number: libc::c_int) -> u32 {
    number.cast_unsigned()
}
