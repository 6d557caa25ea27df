//! What a child is to do, as arguments of its command line.

use std::path::{Path, PathBuf};

/// Role and measure of one child.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) role: &'static str,
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    /// Which of the children of one history it is.
    pub(crate) incarnation: u64,
    pub(crate) threads: u64,
    pub(crate) followers: u64,
    /// Steps of each thread; 0 for no end.
    pub(crate) steps: u64,
    pub(crate) aggregates: u64,
    /// How many of a hundred appends are buffered.
    pub(crate) buffered: u64,
    pub(crate) segment_len: u64,
    pub(crate) background: bool,
    pub(crate) pread: bool,
}

impl Work {
    /// Two threads that write small segments, without end.
    pub(crate) fn new(role: &'static str, dir: &Path, seed: u64) -> Self {
        Self {
            role,
            dir: dir.to_owned(),
            seed,
            incarnation: 0,
            threads: 2,
            followers: 1,
            steps: 0,
            aggregates: 24,
            buffered: 30,
            segment_len: 256 << 10,
            background: true,
            pread: false,
        }
    }

    pub(crate) fn to_args(&self) -> Vec<String> {
        let numbers = [
            self.seed,
            self.incarnation,
            self.threads,
            self.followers,
            self.steps,
            self.aggregates,
            self.buffered,
            self.segment_len,
            u64::from(self.background),
            u64::from(self.pread),
        ];
        let dir = self.dir.to_string_lossy().into_owned();
        let words = ["child".to_owned(), self.role.to_owned(), dir];
        let numbers = numbers.iter().map(ToString::to_string);
        words.into_iter().chain(numbers).collect()
    }

    /// The work that `args`, without the word `child`, describe.
    pub(crate) fn from_args(args: &[String]) -> Option<Self> {
        let [role, dir, numbers @ ..] = args else {
            return None;
        };
        let role = ROLES.into_iter().find(|known| known == role)?;
        let numbers: Vec<u64> = numbers
            .iter()
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        let [
            seed,
            incarnation,
            threads,
            followers,
            steps,
            aggregates,
            buffered,
            segment_len,
            background,
            pread,
        ] = numbers[..]
        else {
            return None;
        };
        Some(Self {
            role,
            dir: PathBuf::from(dir),
            seed,
            incarnation,
            threads,
            followers,
            steps,
            aggregates,
            buffered,
            segment_len,
            background: background == 1,
            pread: pread == 1,
        })
    }
}

/// Writes a log.
pub(crate) const WRITE: &str = "write";
/// Reads a log that another process writes.
pub(crate) const READ: &str = "read";
/// Starts and ends: what it asks the system for is what every process does.
pub(crate) const NOTHING: &str = "nothing";
/// Writes a log and forks: what it forks may not.
pub(crate) const FORK: &str = "fork";

const ROLES: [&str; 4] = [WRITE, READ, NOTHING, FORK];
