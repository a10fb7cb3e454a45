//! One process of a cluster: it is started again on the same settings, gets signals, and writes to a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;
use crate::broker::announced_address;

/// How long a process may take to stop where it stands: as long as its longest sync.
const HALT: Duration = Duration::from_secs(30);
/// How often to look whether something has happened.
const LOOK: Duration = Duration::from_millis(10);

/// What the directories of clusters begin with; the number of the process that made them follows.
const PREFIX: &str = "catena-cluster-";

/// How to start a process.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Set for it; everything else that begins with `CATENA_` is taken away.
    pub environment: Vec<(String, String)>,
}

/// A process, or the place of one that has ended.
#[derive(Debug)]
pub struct Process {
    /// What it is called in the cluster.
    pub name: String,
    recipe: Recipe,
    log: PathBuf,
    /// Where the log of the present life begins.
    log_from: u64,
    child: Option<Child>,
    is_paused: bool,
}

impl Process {
    /// A process that is not started yet; it will write into `directory`.
    pub fn new(name: &str, recipe: Recipe, directory: &Path) -> Process {
        Process {
            name: name.to_owned(),
            recipe,
            log: directory.join(format!("{name}.log")),
            log_from: 0,
            child: None,
            is_paused: false,
        }
    }

    /// From its next start on it is another program.
    pub fn replace_program(&mut self, old: &Path, new: &Path) {
        for word in &mut self.recipe.command {
            if Path::new(word) == old {
                *word = new.display().to_string();
            }
        }
    }

    /// Starts it; the log goes on in the same file.
    ///
    /// # Panics
    /// When it runs already, or there is no such program.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("the cluster's directory can be written");
        let started = format!("--- {}\n", self.recipe.command.join(" "));
        log.write_all(started.as_bytes())
            .expect("the cluster's directory can be written");
        self.log_from = log.metadata().expect("it was just opened").len();

        // Nothing survives whoever started it, however that dies; and Ctrl-C is for that one alone.
        let mut command = Command::new(&self.recipe.command[0]);
        command
            .args(&self.recipe.command[1..])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("there are file descriptors"))
            .stderr(log);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CATENA_") {
                command.env_remove(name);
            }
        }
        command.envs(self.recipe.environment.iter().cloned());
        let child = spawn(command);
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", self.name)));
        self.is_paused = false;
    }

    /// The process, unless it was killed or never started. It may have ended of its own.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it has not ended. A process that is paused has not.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Whether it ended although nobody asked it to: how.
    pub fn ended_by_itself(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended of its own.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, without waiting for that.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end of a process that was asked for it, and kills it when that takes longer than `within`.
    pub fn wait_for_end(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        let status = self.ended_by_itself();
        self.kill();
        status
    }

    /// Lets it hang: it does nothing until [`Process::resume`], and its connections stay open.
    pub fn pause(&mut self) {
        self.is_paused = true;
        self.signal(Signal::STOP);
    }

    /// Lets it hang, and returns when none of its threads does anything any more, not even for it in the kernel.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn halt(&mut self) {
        self.pause();
        let threads = format!("/proc/{}/task", self.pid().expect("it runs"));
        wait_for("a process that stands still", HALT, || {
            let listed = fs::read_dir(&threads).map_err(|error| error.to_string())?;
            for thread in listed.flatten() {
                let stat = fs::read_to_string(thread.path().join("stat"));
                let stat = stat.map_err(|error| error.to_string())?;
                // The name before it may hold anything but its own end.
                let state = stat
                    .rsplit(") ")
                    .next()
                    .and_then(|rest| rest.chars().next());
                if state != Some('T') {
                    return Err(stat);
                }
            }
            Ok(())
        });
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.is_paused = false;
        self.signal(Signal::CONT);
    }

    /// Whether it hangs.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Waits until it says where it listens: the address of the first line that does.
    ///
    /// # Errors
    /// What it wrote, when it ended or took longer than `within`.
    pub fn announced(&mut self, within: Duration) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(address) = self.serves_at() {
                return Ok(address);
            }
            if !self.is_running() || Instant::now() > deadline {
                let text = self.log_of_this_life();
                return Err(format!("{} does not serve:\n{text}", self.name));
            }
            thread::sleep(LOOK);
        }
    }

    /// Where it listens, if it has said so in this life.
    pub fn serves_at(&self) -> Option<SocketAddr> {
        let text = self.log_of_this_life();
        text.lines().find_map(announced_address)
    }

    /// What it wrote since it was started last.
    pub fn log_of_this_life(&self) -> String {
        read_from(&self.log, self.log_from)
    }

    /// What it wrote in all its lives.
    pub fn log(&self) -> String {
        read_from(&self.log, 0)
    }

    /// The file that it writes to.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| {
            let id = i32::try_from(child.id()).ok()?;
            Pid::from_raw(id)
        });
        if let Some(pid) = pid {
            // Not waited for, so the number is still its own even if it has ended.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command line that ends `command` when the process that started it ends.
pub fn leashed(command: impl IntoIterator<Item = String>) -> Vec<String> {
    ["setpriv", "--pdeathsig", "KILL"]
        .map(str::to_owned)
        .into_iter()
        .chain(command)
        .collect()
}

/// The signal of [`leashed`] comes at the end of the *thread* that started a process. So one thread starts all, and lasts.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in received {
                // Who asked may be gone; the child is then waited for by nobody, and dies with us.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, answered) = mpsc::channel();
    spawner
        .send((command, answer))
        .expect("the thread ends with the process");
    answered.recv().expect("each order is answered")
}

fn read_from(file: &Path, from: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(file) {
        // A log that cannot be read is as good as an empty one: it is only shown and searched.
        let _ = file.seek(SeekFrom::Start(from));
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A directory of its own for one cluster. Those that dead processes left behind are removed.
pub fn new_directory() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let temporary = std::env::temp_dir();
    for entry in fs::read_dir(&temporary).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let is_stale = owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists())
            && !entry.path().join(KEPT).exists();
        if is_stale {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = temporary.join(format!("{PREFIX}{}-{number}", std::process::id()));
    // The system may have given our number to another process before.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the temporary directory can be written");
    directory
}

/// Removes what the clusters of this process have written, for one that ends at once.
pub fn remove_directories() {
    let ours = format!("{PREFIX}{}-", std::process::id());
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with(&ours) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A file in the directory of a cluster whose test failed: somebody will want to read the logs.
pub const KEPT: &str = "kept";
