//! Numbers, sizes, durations and foreign text as people read them.

use std::borrow::Cow;
use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun, in the plural unless it is one: `1 commit`, `1,234 commits`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

/// A size with its unit: `512 B`, `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut units = SIZE_UNITS.iter();
    let mut unit = "B";
    while amount >= 1024.0 {
        let Some(next) = units.next() else { break };
        unit = next;
        amount /= 1024.0;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{amount:.1} {unit}")
    }
}

/// A duration in the unit that suits it: `84 us`, `1.25 ms`, `3.20 s`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// How many a second; 0 when no time passed.
pub(crate) fn per_second(count: u64, duration: Duration) -> u64 {
    let seconds = duration.as_secs_f64();
    if seconds > 0.0 {
        (count as f64 / seconds) as u64
    } else {
        0
    }
}

/// `part / whole`, to one decimal; 0 when there is no whole.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (part as f64 / whole as f64 * 10.0).round() / 10.0
    }
}

/// Foreign text for a terminal: control characters are escaped, so that a file name can neither break a
/// table nor drive the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Text as one word of a shell command, to be pasted.
pub(crate) fn shell_quoted(text: &str) -> Cow<'_, str> {
    let is_plain =
        |character: char| character.is_alphanumeric() || "/._-:=@%+,".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

const SIZE_UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let shown: Vec<String> = [0, 999, 1000, 123_456, 1_234_567].map(grouped).to_vec();
        assert_eq!(shown, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [0, 1, 1000].map(|number| counted(number, "event")),
            ["0 events", "1 event", "1,000 events"]
        );
    }

    #[test]
    fn sizes_and_spans_pick_their_unit() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 50), "3072.0 TiB");
        assert_eq!(span(Duration::from_micros(84)), "84 us");
        assert_eq!(span(Duration::from_micros(1250)), "1.25 ms");
        assert_eq!(span(Duration::from_millis(3200)), "3.20 s");
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!(per_second(5, Duration::ZERO), 0);
        assert!(ratio(5, 0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_word_of_a_shell_command_is_quoted_where_it_must() {
        assert_eq!(shell_quoted("file:src/lamp.rs"), "file:src/lamp.rs");
        assert_eq!(shell_quoted("new name"), "'new name'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted(""), "''");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("plain é"), "plain é");
        assert_eq!(printable("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
    }
}
