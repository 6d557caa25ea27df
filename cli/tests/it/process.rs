//! Runs the binary.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "{}", self.stderr);
        self
    }

    /// Fails the test unless stderr is one line, starts as every error does, and has these words.
    #[track_caller]
    pub(crate) fn error(self, words: &str) -> Self {
        assert!(self.stderr.starts_with("annals: "), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.contains(words), "{words:?} in {}", self.stderr);
        self
    }

    /// Fails the test unless stderr starts as every error does, and has these words: clap takes several lines.
    #[track_caller]
    pub(crate) fn usage(self, words: &str) -> Self {
        assert!(self.stderr.starts_with("annals: "), "{}", self.stderr);
        assert!(self.stderr.contains(words), "{words:?} in {}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The binary, not yet started, in no repository and with no settings of whoever runs the tests.
pub(crate) fn annals<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.args(args).stdin(Stdio::null());
    without_git_settings(&mut command);
    command
}

pub(crate) fn without_git_settings(command: &mut Command) {
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
    ] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
}

pub(crate) fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    annals(args).output().unwrap().into()
}

/// Runs the binary with `input` on stdin.
pub(crate) fn run_with<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
    let mut child = annals(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside the reading of stdout, or both ends could wait for the other; a child that stops early is its affair.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output.into()
}

/// Imports lines into the log in `dir`, with these options.
pub(crate) fn import(dir: &Path, options: &[&str], lines: &str) -> Ran {
    let mut args = vec!["import", dir.to_str().unwrap(), "-"];
    args.extend(options);
    run_with(args, lines.as_bytes())
}

/// Prints the log in `dir`, with these options.
pub(crate) fn cat(dir: &Path, options: &[&str]) -> Ran {
    let mut args = vec!["cat", dir.to_str().unwrap()];
    args.extend(options);
    run(args)
}
