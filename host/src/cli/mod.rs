//! The commands: one thin file for each.

mod agent;
mod check;
mod events;
mod freeze;
mod log_backup;
mod module;
mod privileges;
mod record;
mod recover;
mod recovery;
mod run;
mod screen;
mod status;
mod thaw;

use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::fault::{Exit, Fault};
use crate::keeper::places::Places;
use crate::keeper::{self, Start};
use crate::sys::launch::{self, Launch};
use crate::{crash, guard};

/// Brings this machine's databases to a consistent standstill while a snapshot of its disks is taken, and always
/// starts them again.
#[derive(Debug, Parser)]
#[command(name = "stillpoint", version, after_help = AFTER)]
struct Cli {
    /// The configuration [default: /etc/stillpoint/workload.conf, else /etc/azure/workload.conf]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep everything under one folder: DIR/etc, DIR/lib, DIR/run
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// For development: run the modules that the configuration names by their folder without signatures and grants.
    /// Never from the system's own configuration
    #[arg(long, global = true)]
    allow_unsigned: bool,
    /// How to answer
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Begin with  stillpoint check : it changes nothing and says what a freeze would meet.
Then        stillpoint run -- lvcreate --snapshot …   freezes, runs the command, thaws, and says what the snapshot is worth.
An agent that snapshots by itself calls  stillpoint freeze  before and  stillpoint thaw  after.

Exit codes: 0 done, and consistent; 1 internal error (log-backup: not everything was copied); 2 configuration or usage; 3 module, or record, not trusted;
4 freeze failed, everything is thawed; 5 thawed, but the snapshot is not application-consistent;
6 A THAW FAILED: SOMETHING MAY STILL STAND STILL; 7 another cycle is under way; 8 the command of run failed.";

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: one JSON object on standard output.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a freeze would meet; change nothing
    Check,
    /// Freeze, run COMMAND, thaw, and give the verdict
    Run {
        /// The command that takes the snapshot
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Freeze, and return while everything stands still: at most for `timeout`
    Freeze,
    /// Thaw, and give the verdict of the cycle
    Thaw,
    /// Say what stands still
    Status,
    /// Take back what a cycle that was killed left frozen
    Recover {
        /// Keep trying for this many seconds while a database does not answer; 0 tries once
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        patience: u64,
    },
    /// Copy the logs that databases have closed to where the section logbackup says
    LogBackup(#[command(flatten)] log_backup::Asked),
    /// Print the commands that make a running database of a cycle's snapshot; run none of them
    Recovery(#[command(flatten)] recovery::Asked),
    /// Print the statements that make the least login that a workload needs
    Privileges {
        /// Its name in the configuration
        workload: String,
    },
    /// Look at modules, accept them, take them away
    #[command(subcommand)]
    Module(module::Command),
    /// Show what a cycle did, and tell whether that record is what was written
    Record {
        #[command(subcommand)]
        what: RecordCommand,
    },
    /// Print the messaging channel of the cycle under way
    Events {
        /// Wait for the next cycle, and the one after it
        #[arg(long)]
        follow: bool,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The process that holds
    #[command(hide = true)]
    Keeper {
        /// JSON
        start: String,
    },
    /// The process that thaws when the keeper does not
    #[command(hide = true)]
    Guard {
        /// JSON
        start: String,
    },
    /// Becomes another program
    #[command(hide = true)]
    Launch {
        /// JSON
        plan: String,
    },
    /// Print the steps at which a test can break something
    #[cfg(feature = "crash-points")]
    #[command(hide = true)]
    CrashPoints,
}

#[derive(Debug, Subcommand)]
enum RecordCommand {
    /// List the cycles whose records are kept, the newest first
    List,
    /// Show a cycle, entry by entry
    Show {
        /// Its id [default: the newest]
        cycle: Option<String>,
    },
    /// Tell whether the records are what was written; exit 3 when they are not
    Verify {
        /// The head of a cycle, as its verdict named it and somebody else has kept it
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// What every command is told.
pub(crate) struct Context {
    pub places: Places,
    pub config: Option<PathBuf>,
    pub output: Output,
    pub unsigned: bool,
}

/// Runs the command of this process.
pub fn main() -> Exit {
    // Keeper and guard are started by another path.
    let _ = nix::sys::prctl::set_name(c"stillpoint");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() && json_is_asked() => {
            let fault = Fault::new("SP-CLI-002", Exit::Usage, e.render().to_string().trim().to_owned());
            return screen::faults(Output::Json, &[fault.next("see  stillpoint --help")]);
        }
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let absolute = |path: Option<PathBuf>| path.map(|p| std::path::absolute(&p).unwrap_or(p));
    let context = Context {
        places: Places::under(absolute(cli.state_dir).as_deref()),
        config: absolute(cli.config),
        output: cli.output,
        unsigned: cli.allow_unsigned,
    };
    match cli.command {
        Command::Check => check::check(&context),
        Command::Run { command } => run::run(&context, &command),
        Command::Freeze => freeze::freeze(&context),
        Command::Thaw => thaw::thaw(&context),
        Command::Status => status::status(&context),
        Command::Recover { patience } => recover::recover(&context, Duration::from_secs(patience)),
        Command::LogBackup(asked) => log_backup::log_backup(&context, &asked),
        Command::Recovery(asked) => recovery::recovery(&context, &asked),
        Command::Privileges { workload } => privileges::privileges(&context, &workload),
        Command::Module(command) => module::run(&context, &command),
        Command::Record { what: RecordCommand::List } => record::list(&context),
        Command::Record { what: RecordCommand::Show { cycle } } => record::show(&context, cycle.as_deref()),
        Command::Record { what: RecordCommand::Verify { head } } => record::verify(&context, head.as_deref()),
        Command::Events { follow } => events::events(&context, follow),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "stillpoint", &mut std::io::stdout());
            Exit::Done
        }
        Command::Keeper { start } => match serde_json::from_str::<Start>(&start) {
            Ok(start) => keeper::keep(&start).unwrap_or(Exit::Internal),
            Err(_) => Exit::Usage,
        },
        Command::Guard { start } => match serde_json::from_str::<guard::process::Start>(&start) {
            Ok(start) => {
                crash::under(&start.places.run);
                guard::process::guard(start).unwrap_or(Exit::Internal)
            }
            Err(_) => Exit::Usage,
        },
        Command::Launch { plan } => match serde_json::from_str::<Launch>(&plan) {
            Ok(plan) => {
                let why = launch::become_it(&plan);
                screen::say_beside(format_args!("{}: {why}", plan.program.display()));
                Exit::Internal
            }
            Err(_) => Exit::Usage,
        },
        #[cfg(feature = "crash-points")]
        Command::CrashPoints => {
            let said = crash::Step::ALL.iter().all(|step| screen::say(step.name()));
            if said { Exit::Done } else { Exit::Internal }
        }
    }
}

/// Whether a command line that is wrong asks for JSON.
fn json_is_asked() -> bool {
    let words: Vec<_> = std::env::args_os().collect();
    words.iter().any(|w| w == "--output=json") || words.windows(2).any(|w| w[0] == "--output" && w[1] == "json")
}

/// A runtime for the commands that wait.
fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e.to_string()))
}

fn internal(why: &str) -> Fault {
    Fault::new("SP-CLI-001", Exit::Internal, format!("{why}."))
}
