//! A git repository, asked through the `git` program: is it there, is it whole, what is its history.

use std::collections::HashSet;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::commands::demo::git_history::{GitHistory, HEADER_FORMAT};
use crate::error::CliError;

/// A repository with at least one commit and its whole history.
#[derive(Debug)]
pub(crate) struct Repository {
    asked: Option<PathBuf>,
    /// Where it lies, as git says.
    pub(crate) place: String,
    /// Commits reachable from what is checked out.
    pub(crate) commit_count: u64,
    /// Those of them that are reached by first parents alone.
    pub(crate) main_line: HashSet<String>,
}

/// Why a repository is of no use here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("git cannot be run, expected the program `git` in PATH")]
    GitMissing { source: io::Error },
    #[error("{place}: no git repository (git: {said})", place = place.display())]
    NoRepository { place: PathBuf, said: String },
    #[error("{place}: a repository without commits")]
    NoCommits { place: String },
    #[error(
        "{place}: a shallow repository, its history is cut off; `git fetch --unshallow` completes it"
    )]
    Shallow { place: String },
    #[error("{place}: git cannot show its history, git 2.31 or later is expected (git: {said})")]
    Unreadable { place: String, said: String },
}

impl Repository {
    /// Looks for the repository at or above `asked`, by default the current directory.
    pub(crate) fn find(asked: Option<&Path>) -> Result<Self, Unusable> {
        let place = || asked.unwrap_or(Path::new(".")).to_owned();
        let found = ask(
            asked,
            &["rev-parse", "--is-shallow-repository", "--absolute-git-dir"],
        )?
        .map_err(|said| Unusable::NoRepository {
            place: place(),
            said,
        })?;
        let (shallow, git_dir) = found.split_once('\n').unwrap_or(("", &found));
        let place = git_dir.strip_suffix("/.git").unwrap_or(git_dir).to_owned();
        if ask(
            asked,
            &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
        )?
        .is_err()
        {
            return Err(Unusable::NoCommits { place });
        }
        if shallow == "true" {
            return Err(Unusable::Shallow { place });
        }
        let unreadable = |said| Unusable::Unreadable {
            place: place.clone(),
            said,
        };
        let count = ask(asked, &["rev-list", "--count", "HEAD"])?.map_err(unreadable)?;
        let commit_count = count.parse().map_err(|_| unreadable(count))?;
        let main_line = ask(asked, &["rev-list", "--first-parent", "HEAD"])?.map_err(unreadable)?;
        let main_line = main_line.lines().map(str::to_owned).collect();
        Ok(Self {
            asked: asked.map(Path::to_owned),
            place,
            commit_count,
            main_line,
        })
    }

    /// Starts `git log` over everything that is checked out, oldest commit first.
    ///
    /// A merge shows what it brought to its first parent, once, however many parents it has. Settings of the user's
    /// that would change the output are overruled.
    pub(crate) fn log(&self) -> Result<GitLog, Unusable> {
        let mut child = git(self.asked.as_deref())
            .args(["-c", "log.showRoot=true", "-c", "log.showSignature=false"])
            .args([
                "log",
                "-z",
                "--raw",
                "--numstat",
                "--no-abbrev",
                "-M",
                "--diff-merges=first-parent",
            ])
            .args([
                "--reverse",
                "--date-order",
                "--no-color",
                "--no-decorate",
                "--no-notes",
                "--no-relative",
            ])
            .args([
                "--no-ext-diff",
                "--no-textconv",
                "--ignore-submodules=none",
                "--submodule=short",
                "-O/dev/null",
            ])
            .arg(format!("--format={HEADER_FORMAT}"))
            .args(["HEAD", "--"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| Unusable::GitMissing { source })?;
        let stdout = child.stdout.take().expect("stdout is piped just above");
        let mut stderr = child.stderr.take().expect("`git` pipes stderr");
        // Read beside stdout: a git that has much to complain about would otherwise wait for its reader for ever.
        let said = thread::spawn(move || {
            let mut said = Vec::new();
            // What cannot be read is not said; the exit status still tells.
            let _ = (&mut stderr).take(SAID_LEN_MAX).read_to_end(&mut said);
            let _ = io::copy(&mut stderr, &mut io::sink());
            first_line(&said)
        });
        let history = GitHistory::new(BufReader::with_capacity(READ_LEN, stdout));
        Ok(GitLog {
            history,
            child,
            said,
        })
    }
}

/// A running `git log`.
#[derive(Debug)]
pub(crate) struct GitLog {
    pub(crate) history: GitHistory<BufReader<ChildStdout>>,
    child: Child,
    said: JoinHandle<String>,
}

impl GitLog {
    /// Waits for git, once its output has been read, and says whether that was all of it.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        let Self {
            history,
            mut child,
            said,
        } = self;
        // Should it still write, then into a closed pipe: it ends instead of waiting.
        drop(history);
        let status = child.wait();
        let said = said.join().unwrap_or_default();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CliError::GitFailed {
                status: status.to_string(),
                said,
            }),
            Err(error) => Err(CliError::GitFailed {
                status: error.to_string(),
                said,
            }),
        }
    }
}

/// Runs git and answers what it printed, or what it complained about.
fn ask(asked: Option<&Path>, args: &[&str]) -> Result<Result<String, String>, Unusable> {
    let output = git(asked)
        .args(args)
        .output()
        .map_err(|source| Unusable::GitMissing { source })?;
    Ok(match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()),
        false => Err(first_line(&output.stderr)),
    })
}

fn git(asked: Option<&Path>) -> Command {
    let mut git = Command::new("git");
    git.env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(path) = asked {
        git.arg("-C").arg(path);
        // Set when git itself runs us, in a hook: they would outweigh the path that was asked for.
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_COMMON_DIR",
        ] {
            git.env_remove(name);
        }
    }
    git
}

fn first_line(text: &[u8]) -> String {
    match String::from_utf8_lossy(text)
        .lines()
        .find(|line| !line.trim().is_empty())
    {
        Some(line) => line.trim_start_matches("fatal: ").to_owned(),
        None => "nothing said".to_owned(),
    }
}

const READ_LEN: usize = 256 << 10;
const SAID_LEN_MAX: u64 = 64 << 10;
