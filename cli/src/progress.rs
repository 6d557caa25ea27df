//! Progress bars on stderr, shown only when it is a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known number of bytes.
pub(crate) fn of_bytes(total: u64, doing: &'static str) -> ProgressBar {
    bar(ProgressBar::new(total), doing, BYTES)
}

/// A counter of bytes whose end is not known.
pub(crate) fn of_unknown_bytes(doing: &'static str) -> ProgressBar {
    bar(ProgressBar::no_length(), doing, UNKNOWN_BYTES)
}

/// A bar over a known number of commits of a repository.
pub(crate) fn of_commits(total: u64, doing: &'static str) -> ProgressBar {
    bar(ProgressBar::new(total), doing, COMMITS)
}

/// A bar over a known number of events.
pub(crate) fn of_events(total: u64, doing: String) -> ProgressBar {
    bar(ProgressBar::new(total), doing, EVENTS)
}

/// A bar over a known number of slices of a benchmark. Drawn with them and not between, so that it costs none
/// of them anything.
pub(crate) fn of_slices(total: u64, doing: String) -> ProgressBar {
    bar(ProgressBar::new(total), doing, SLICES)
}

fn bar(
    bar: ProgressBar,
    doing: impl Into<Cow<'static, str>>,
    template: &'static str,
) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(template).expect("a test sees that every template is valid");
    bar.with_style(style).with_message(doing)
}

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
const UNKNOWN_BYTES: &str = "{msg} {spinner} {bytes} {bytes_per_sec}";
const COMMITS: &str = "{msg} {wide_bar} {human_pos}/{human_len} commits {eta}";
const EVENTS: &str = "{msg} {wide_bar} {human_pos}/{human_len} events {eta}";
const SLICES: &str = "{msg} {wide_bar} {pos}/{len} {eta}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid() {
        // The styles are only made on a terminal; so that a bad one is found without.
        for template in [BYTES, UNKNOWN_BYTES, COMMITS, EVENTS, SLICES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
