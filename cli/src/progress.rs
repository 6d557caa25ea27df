//! Progress bars on stderr, shown only when it is a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known number of bytes.
pub(crate) fn of_bytes(total: u64, doing: &'static str) -> ProgressBar {
    bar(ProgressBar::new(total), doing, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
}

/// A counter of bytes whose end is not known.
pub(crate) fn of_unknown_bytes(doing: &'static str) -> ProgressBar {
    bar(ProgressBar::no_length(), doing, "{msg} {spinner} {bytes} {bytes_per_sec}")
}

/// A bar over a known number of commits of a repository.
pub(crate) fn of_commits(total: u64, doing: &'static str) -> ProgressBar {
    bar(ProgressBar::new(total), doing, "{msg} {wide_bar} {human_pos}/{human_len} commits {eta}")
}

fn bar(bar: ProgressBar, doing: &'static str, template: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the templates above are valid");
    bar.with_style(style).with_message(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid() {
        // The styles are only made on a terminal; so that a bad one is found without.
        for template in [
            "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
            "{msg} {spinner} {bytes} {bytes_per_sec}",
            "{msg} {wide_bar} {human_pos}/{human_len} commits {eta}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
