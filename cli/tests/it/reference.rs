//! What is written about the commands elsewhere names those that there are, and options that they have.

use crate::process::run;

const PAGE: &str = include_str!("../../../docs/reference/cli.md");
const README: &str = include_str!("../../../README.md");

/// The commands, as the help lists them.
fn commands() -> Vec<String> {
    let help = run(["--help"]).code(0).stdout;
    let listed = help
        .split_once("Commands:\n")
        .unwrap()
        .1
        .split("\n\n")
        .next()
        .unwrap();
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The command that a line is about, and what else the line says.
fn told(line: &str) -> Option<(&str, &str)> {
    let told = line
        .strip_prefix("| `annals ")
        .or_else(|| line.strip_prefix("annals "))?;
    told.split_once([' ', '`'])
}

#[test]
fn the_reference_and_the_readme_list_the_commands_that_there_are() {
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");

    let listed: Vec<_> = PAGE
        .lines()
        .filter_map(told)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(listed, commands);

    let mut listed: Vec<_> = README
        .lines()
        .filter_map(told)
        .map(|(name, _)| name)
        .collect();
    listed.dedup();
    assert_eq!(listed, commands);
}

#[test]
fn options_that_they_name_are_options_of_the_command() {
    for (name, rest) in PAGE.lines().chain(README.lines()).filter_map(told) {
        let help = run([name, "--help"]).code(0).stdout;
        let words = rest.split(|char: char| !char.is_alphanumeric() && char != '-');
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "annals {name} has no {option}");
        }
    }
}
