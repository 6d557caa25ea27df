//! A child process, and what it has told so far.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use annals_segments::planted::planted;
use parking_lot::Mutex;

use crate::report::{Line, Told};
use crate::work::Work;

/// A running child. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    told: Arc<Mutex<Told>>,
    reading: Vec<JoinHandle<String>>,
}

/// A child that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) told: Told,
    /// What it wrote to standard error.
    pub(crate) complaint: String,
}

impl Child {
    pub(crate) fn start(work: &Work) -> Self {
        Self::start_under(work, &[])
    }

    /// Starts it as the command that `wrapper` runs.
    pub(crate) fn start_under(work: &Work, wrapper: &[String]) -> Self {
        let own = std::env::current_exe().expect("the path of this program");
        let own = own.to_string_lossy().into_owned();
        let words: Vec<String> = [wrapper, &[own], &work.to_args()].concat();
        let mut command = Command::new(&words[0]);
        if let Some(bug) = planted() {
            command.env(PLANTED_BUG, format!("{bug:?}"));
        }
        let mut process = command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
        let told = Arc::new(Mutex::new(Told::default()));
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let telling = told.clone();
        let lines = std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout.expect("it is piped"));
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap_or(0) > 0 {
                // A line without an end was cut by a kill.
                if let Some(whole) = line.strip_suffix('\n') {
                    match Line::parse(whole) {
                        Some(parsed) => telling.lock().take(parsed),
                        None => telling.lock().wrong.push(format!("it told: {whole}")),
                    }
                }
                line.clear();
            }
            String::new()
        });
        let complaint = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.expect("it is piped").read_to_string(&mut text);
            text
        });
        Self {
            process,
            told,
            reading: vec![lines, complaint],
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Looks at what it has told.
    pub(crate) fn told<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }

    /// Ends it at once, wherever it is.
    pub(crate) fn kill(mut self) -> Ended {
        let _ = self.process.kill();
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let status = self.process.wait().expect("a child can be waited for");
        let mut complaint = String::new();
        for reading in self.reading.drain(..) {
            complaint.push_str(&reading.join().expect("a pipe can be read"));
        }
        Ended {
            status,
            told: std::mem::take(&mut self.told.lock()),
            complaint,
        }
    }
}

/// Plants the bug that the parent has planted, in a child.
#[cfg(feature = "planted-bugs")]
pub(crate) fn plant_as_told() {
    use annals_segments::planted::{Bug, plant};

    if let Ok(name) = std::env::var(PLANTED_BUG) {
        let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
        plant(Some(bug.expect("the parent knows its bugs")));
    }
}

/// Tells a child which bug to plant.
const PLANTED_BUG: &str = "ANNALS_PLANTED_BUG";

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    /// What may not be: an end by another signal than a kill, a panic, and what the child itself has found.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = self.told.wrong.clone();
        let is_killed = self.status.signal() == Some(9);
        if !is_killed && self.status.code() != Some(0) {
            wrong.push(format!(
                "a child ended by {}: {}",
                self.status, self.complaint
            ));
        }
        wrong
    }
}
