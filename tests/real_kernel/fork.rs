//! The child that forks: it writes a log, and what it forks has to be refused everything that changes the log.

#![expect(
    unsafe_code,
    reason = "forking is what this is about, and std has no word for it"
)]

use annals_engine::{Error, Log};

use crate::content;
use crate::report::Line;
use crate::work::Work;
use crate::writer::{self, Session};

mod system {
    unsafe extern "C" {
        pub(super) fn fork() -> i32;
        pub(super) fn _exit(code: i32) -> !;
        pub(super) fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        pub(super) fn alarm(seconds: u32) -> u32;
    }
}

/// Writes and forks, again and again; then says that it is done and goes on writing.
pub(crate) fn run(work: &Work) {
    let tell = |line: Line| line.tell();
    let log = match writer::options(work).open(&work.dir) {
        Ok(log) => log,
        Err(error) => return tell(Line::Wrong(format!("cannot be opened: {error}"))),
    };
    tell(Line::Opened(log.head()));
    let mut session = Session::new(&log, work, 0, &tell);
    for _ in 0..FORKS {
        session.run();
        let durable = log.durable_head();
        if let Err(wrong) = fork(|| check_refused(&log, durable)) {
            return tell(Line::Wrong(wrong));
        }
    }
    tell(Line::Done);
    // The log is its own still, until it is killed.
    loop {
        session.run();
    }
}

/// Runs `child` in a forked child, and waits for its end, which should be a good one.
fn fork(child: impl FnOnce()) -> Result<(), String> {
    // SAFETY: the child has the one thread that calls this. No other thread of this process writes to standard output,
    // and what the child asks of the log takes no lock before it is refused; should it wait all the same, the alarm
    // ends it. It ends without running what is at exit. The status is ours.
    let status = unsafe {
        let process = system::fork();
        if process == 0 {
            let _ = system::alarm(PATIENCE_SECONDS);
            child();
            system::_exit(0);
        }
        let mut status = -1;
        let waited = system::waitpid(process, &raw mut status, 0);
        if waited == process { status } else { -1 }
    };
    match status {
        0 => Ok(()),
        _ => Err(format!("a forked child ended with status {status:#x}")),
    }
}

/// Asks for everything that changes the log; says what is not refused.
fn check_refused(log: &Log, durable: u64) {
    let event = || content::event((u64::MAX, 0), 0);
    let answers = [
        ("append", log.append(event()).map(drop)),
        ("submit", log.submit(event()).map(drop)),
        ("sync", log.sync().map(drop)),
        ("set_follower", log.set_follower("forked", 1)),
        ("truncate_before", log.truncate_before(1).map(drop)),
        ("close", log.close()),
    ];
    for (what, answer) in answers {
        if !matches!(answer, Err(Error::Forked { .. })) {
            return Line::Wrong(format!("{what} in a forked child: {answer:?}")).tell();
        }
    }
    if log.durable_head() < durable {
        Line::Wrong("a forked child is shown less".into()).tell();
    }
    match Log::open(log.dir()) {
        Err(Error::Locked { .. }) => {}
        other => Line::Wrong(format!("opened by a forked child: {other:?}")).tell(),
    }
}

/// How often it forks.
pub(crate) const FORKS: u64 = 4;
/// For a child that waits for a thread it does not have.
const PATIENCE_SECONDS: u32 = 20;
