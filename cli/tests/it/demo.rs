//! `annals demo`: on a repository made here, and wherever there is none.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::process::{Ran, annals, cat, run, without_git_settings};

/// A repository under construction. Dates are fixed, two hours apart.
struct Repository {
    dir: TempDir,
    hours: u32,
}

impl Repository {
    fn new() -> Self {
        let made = Self {
            dir: tempdir().unwrap(),
            hours: 0,
        };
        made.git(&["init", "-q", "-b", "main"]);
        made
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything, by `author`.
    fn commit(&mut self, author: &str) {
        self.git(&["add", "-A"]);
        self.hours += 2;
        self.git_as(
            author,
            &["commit", "-q", "--allow-empty", "-m", "by Grace Hopper"],
        );
    }

    fn merge(&mut self, branch: &str) {
        self.hours += 2;
        self.git_as("keeper", &["merge", "-q", "--no-ff", "-m", "merge", branch]);
    }

    fn git(&self, args: &[&str]) {
        self.git_as("keeper", args);
    }

    fn git_as(&self, author: &str, args: &[&str]) {
        let date = format!(
            "2024-05-{:02}T{:02}:00:00+0000",
            1 + self.hours / 24,
            self.hours % 24
        );
        let mail = format!("{author}@light.invalid");
        let mut git = Command::new("git");
        without_git_settings(&mut git);
        git.arg("-C").arg(self.path()).args(args);
        git.env("GIT_AUTHOR_NAME", author)
            .env("GIT_COMMITTER_NAME", author);
        git.env("GIT_AUTHOR_EMAIL", &mail)
            .env("GIT_COMMITTER_EMAIL", &mail);
        git.env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date);
        let output = git.output().unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn demo(repository: &Path, options: &[&str]) -> Ran {
    let mut args = vec!["demo", "--repo", repository.to_str().unwrap()];
    args.extend(options);
    run(args)
}

fn numbered(count: usize) -> String {
    (1..=count)
        .map(|number| format!("line {number}\n"))
        .collect()
}

/// Nine commits: a file that changes often, a rename, a merge, a deletion, a binary file and odd names.
fn eventful() -> Repository {
    let mut repository = Repository::new();
    repository.write("lamp.rs", numbered(20));
    repository.write("old name.txt", numbered(30));
    repository.write("pic\n\"tab\t.png", b"\0\x01\x02");
    repository.commit("keeper");
    repository.write("lamp.rs", numbered(24));
    repository.commit("engineer");
    repository.git(&["mv", "old name.txt", "new name.txt"]);
    repository.write("lamp.rs", numbered(25));
    repository.commit("keeper");
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.write("side.md", numbered(3));
    repository.write("lamp.rs", numbered(30));
    repository.commit("cook");
    repository.git(&["checkout", "-q", "main"]);
    repository.write("gone.md", numbered(2));
    repository.commit("keeper");
    repository.merge("side");
    std::fs::remove_file(repository.path().join("gone.md")).unwrap();
    repository.commit("keeper");
    repository.commit("keeper");
    repository.write("lamp.rs", numbered(10));
    repository.commit("engineer");
    repository
}

#[test]
fn a_history_becomes_events_and_is_read_back() {
    let repository = eventful();
    let report = demo(repository.path(), &["--json"]).code(0).json();
    assert_eq!(report["source"]["kind"], "repository", "{report}");
    assert_eq!(report["commits"], 9);
    // 3 added; 1; rename (2) and 1; 2; 1; merge (2); 1; none; 1: fourteen; and nine commits by their authors.
    assert_eq!(report["events"], 14 + 9, "{report}");
    assert_eq!(report["replay"]["events"], 14 + 9);
    // Six paths with a new and an old name for one, side and gone; three authors on the first of May.
    assert_eq!(report["aggregates"], 6 + 3);

    let hottest = &report["hottest"][0];
    assert_eq!(hottest["aggregate_id"], "file:lamp.rs");
    assert_eq!(
        (&hottest["changes"], &hottest["merges"]),
        (&Value::from(5), &Value::from(1))
    );
    let topics: Vec<&str> = report["life"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["topic"].as_str().unwrap())
        .collect();
    assert_eq!(
        topics,
        [
            "FileAdded",
            "FileModified",
            "FileModified",
            "FileModified",
            "FileMerged",
            "FileModified"
        ]
    );
    let half = &report["state_at_half"];
    assert_eq!(
        (&half["version"], &half["versions"]),
        (&Value::from(3), &Value::from(6))
    );
    assert_eq!(
        (&half["state"]["lines"], &half["state"]["authors"]),
        (&Value::from(25), &Value::from(2))
    );
    assert_eq!(half["state"]["status"], "present");
}

#[test]
fn lines_are_those_of_the_main_line_even_where_branches_did_the_same() {
    let mut repository = Repository::new();
    repository.write("lamp.rs", numbered(10));
    repository.commit("keeper");
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.write("lamp.rs", numbered(15));
    repository.commit("cook");
    repository.git(&["checkout", "-q", "main"]);
    repository.write("lamp.rs", numbered(15));
    repository.commit("keeper");
    repository.merge("side");
    for count in [16, 17, 18] {
        repository.write("lamp.rs", numbered(count));
        repository.commit("keeper");
    }
    // Six versions: the merge changed nothing against its first parent. Half way both have added their lines.
    let report = demo(repository.path(), &["--json"]).code(0).json();
    let half = &report["state_at_half"];
    assert_eq!(
        (&half["version"], &half["versions"]),
        (&Value::from(3), &Value::from(6))
    );
    assert_eq!(half["state"]["lines"], 15, "{half}");
    assert_eq!(half["state"]["changes"], 3);
}

#[test]
fn the_log_can_be_kept_and_names_no_author() {
    let repository = eventful();
    let home = tempdir().unwrap();
    let log = home.path().join("log");
    let options = ["--into", log.to_str().unwrap()];
    let ran = demo(repository.path(), &options).code(0).error(&format!(
        "next: annals cat {} --aggregate file:lamp.rs\n",
        log.display()
    ));
    let tables = ran.stdout;
    let first_line = format!("log in {} (kept)\n", log.display());
    assert!(tables.starts_with(&first_line), "{tables}");
    for words in [
        "23",
        "Hottest files",
        "Life of file:lamp.rs (6 events)",
        "State of file:lamp.rs at version 3 of 6",
        "9 appends in ",
        "the whole import with git ",
    ] {
        assert!(tables.contains(words), "{words} in {tables}");
    }

    let printed = cat(&log, &[]).code(0).stdout;
    for name in ["keeper", "engineer", "cook", "invalid", "Grace"] {
        assert!(!printed.contains(name), "{name}");
    }
    let renamed = cat(&log, &["--aggregate", "file:new name.txt"])
        .code(0)
        .json();
    assert_eq!(
        (&renamed["topic"], &renamed["version"]),
        (&Value::from("FileRenamed"), &Value::from(1))
    );
    assert_eq!(
        (
            &renamed["payload"]["from"],
            &renamed["payload"]["lines_before"]
        ),
        (&Value::from("old name.txt"), &Value::from(30))
    );
    let commit = renamed["metadata"]["correlation_id"].as_str().unwrap();
    assert_eq!(
        renamed["tags"],
        serde_json::json!([format!("commit:{commit}"), "ext:txt"])
    );
    let odd = cat(&log, &["--tag", "ext:png"]).code(0).json();
    assert_eq!(odd["payload"]["path"], "pic\n\"tab\t.png");
    assert_eq!(odd["payload"]["binary"], true);
    run(["verify", log.to_str().unwrap()]).code(0);

    // Not a second time into the same log.
    demo(repository.path(), &options)
        .code(2)
        .error("holds 23 events, expected a missing or empty directory");
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let home = tempdir().unwrap();
    std::fs::write(home.path().join("letter.txt"), "Dear log").unwrap();
    let repository = eventful();
    demo(
        repository.path(),
        &["--into", home.path().to_str().unwrap()],
    )
    .code(2)
    .error(home.path().to_str().unwrap());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_huge_commit_becomes_several_appends() {
    let mut repository = Repository::new();
    for number in 0..1500 {
        repository.write(
            format!("d{}/f{number}.txt", number % 40),
            format!("{number}\n"),
        );
    }
    repository.commit("keeper");
    let report = demo(repository.path(), &["--json"]).code(0).json();
    assert_eq!(
        (&report["commits"], &report["events"]),
        (&Value::from(1), &Value::from(1501))
    );
    assert_eq!(report["append"]["appends"], 2);
    let tables = demo(repository.path(), &[]).code(0).stdout;
    assert!(
        tables.contains("2 appends (large commits take several) in "),
        "{tables}"
    );
    // With the smallest segments a batch has at most 16 KiB.
    let report = demo(repository.path(), &["--json", "--segment-len", "65536"])
        .code(0)
        .json();
    assert_eq!(report["events"], 1501);
    assert!(report["segments"].as_u64().unwrap() > 3, "{report}");
}

/// The demo where there is no history to read: it says why, and runs.
#[track_caller]
fn assert_bundled(ran: Ran, why: &str) {
    let ran = ran
        .code(0)
        .error(why)
        .error("running on the small history that comes with the program");
    let report = ran.json();
    assert_eq!(report["source"]["kind"], "bundled");
    assert_eq!(report["commits"], 60);
    assert_eq!(report["hottest"].as_array().unwrap().len(), 10);
    assert_eq!(report["hottest"][0]["path"], "src/lamp.rs");
    assert_eq!(report["state_at_half"]["state"]["status"], "present");
    assert!(
        !PathBuf::from(report["dir"].as_str().unwrap()).exists(),
        "the temporary log is still there"
    );
}

#[test]
fn without_a_repository_the_bundled_history_is_used() {
    let dir = tempdir().unwrap();
    assert_bundled(demo(dir.path(), &["--json"]), "no git repository");
    assert_bundled(demo(Path::new("/nowhere"), &["--json"]), "/nowhere");
    let here = annals(["demo", "--json"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_bundled(here.into(), "no git repository");
}

#[test]
fn in_a_repository_without_commits_the_bundled_history_is_used() {
    assert_bundled(
        demo(Repository::new().path(), &["--json"]),
        "a repository without commits",
    );
}

#[test]
fn in_a_shallow_repository_the_bundled_history_is_used() {
    let repository = eventful();
    let home = tempdir().unwrap();
    let clone = home.path().join("clone");
    let from = format!("file://{}", repository.path().display());
    repository.git(&[
        "clone",
        "-q",
        "--depth",
        "2",
        &from,
        clone.to_str().unwrap(),
    ]);
    assert_bundled(demo(&clone, &["--json"]), "a shallow repository");
}

#[test]
fn without_git_the_bundled_history_is_used() {
    let dir = tempdir().unwrap();
    let without_git = annals(["demo", "--json"])
        .current_dir(dir.path())
        .env("PATH", dir.path())
        .output()
        .unwrap();
    assert_bundled(without_git.into(), "git cannot be run");
}

#[test]
fn the_bundled_history_shows_a_long_life_cut_in_the_middle() {
    let dir = tempdir().unwrap();
    let tables = demo(dir.path(), &[]).code(0).stdout;
    assert!(
        tables.contains("more") && tables.contains("--json prints them all"),
        "{tables}"
    );
    assert!(tables.starts_with("log in "), "{tables}");
    assert!(tables.contains("removed at the end"), "{tables}");
    assert!(!tables.contains("git"), "{tables}");
}
