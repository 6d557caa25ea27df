//! What ran where: the lines without which no figure means anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine, as far as it tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) processor: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Gibibytes of memory.
    pub(crate) memory_gib: f64,
    /// Kernel and its version.
    pub(crate) kernel: String,
    /// File system of the stores.
    pub(crate) file_system: String,
    /// Version of the compiler.
    pub(crate) rustc: String,
}

impl Machine {
    /// This one; `dir` is where the stores are.
    pub(crate) fn of(dir: &Path) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value);
            value.unwrap_or("unknown").trim().to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: annals_cli::bench::cores(),
            memory_gib: (kib / f64::from(1 << 20)).round(),
            kernel: format!("Linux {}", numbers(&read("/proc/sys/kernel/osrelease"))),
            file_system: file_system(&read("/proc/self/mounts"), dir).unwrap_or("unknown".into()),
            rustc: said_by("rustc", &["--version"]).unwrap_or("unknown".into()),
        }
    }
}

/// A version without what a distributor adds.
fn numbers(version: &str) -> &str {
    let is_part = |letter: char| letter.is_ascii_digit() || letter == '.';
    version
        .split(|letter| !is_part(letter))
        .next()
        .unwrap_or_default()
}

/// Type of the file system that a directory is in.
fn file_system(mounts: &str, dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let within = mounts.filter(|(at, _)| dir.starts_with(at));
    let nearest = within.max_by_key(|(at, _)| at.components().count());
    nearest.map(|(_, name)| name.to_owned())
}

/// Commit of this repository, marked when files have changed since.
pub(crate) fn commit() -> String {
    let within = env!("CARGO_MANIFEST_DIR");
    said_by(
        "git",
        &[
            "-C",
            within,
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
        ],
    )
    .unwrap_or("unknown".into())
}

/// Version of every package in the lock file, by name; the newest where there are several.
pub(crate) fn packages() -> BTreeMap<String, String> {
    let lock = include_str!("../Cargo.lock");
    let value = |line: &str, name: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(" = \"")?;
        Some(value.strip_suffix('"')?.to_owned())
    };
    let mut packages = BTreeMap::new();
    let mut name = None;
    for line in lock.lines() {
        name = value(line, "name").or(name);
        if let Some(version) = value(line, "version") {
            packages.insert(name.take().unwrap_or_default(), version);
        }
    }
    packages
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let packages = packages();
        for kind in &crate::engines::ALL {
            assert!(packages.contains_key(kind.package), "{}", kind.package);
        }
        assert!(packages["redb"].starts_with("4."));
    }

    #[test]
    fn a_version_is_numbers() {
        assert_eq!(numbers("6.18.4-cloud-amd64\n"), "6.18.4");
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "a / ext4 rw 0 0\nb /proc proc rw 0 0\n";
        assert_eq!(
            file_system(mounts, Path::new("/proc/self")).unwrap(),
            "proc"
        );
        assert_eq!(file_system(mounts, Path::new("/")).unwrap(), "ext4");
    }
}
