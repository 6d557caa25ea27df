//! Lines of an input, numbered, of bounded length.

use std::io::{self, BufRead, Read};

/// Greatest line in bytes, without its end. Four times the greatest payload: JSON may escape.
pub(crate) const LINE_LEN_MAX: usize = 64 << 20;

/// Reads lines into one buffer.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

/// What the next line is. Numbers count from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineRead<'a> {
    /// Without its line feed; the last line may have none.
    Line {
        number: u64,
        text: &'a [u8],
    },
    /// Longer than [`LINE_LEN_MAX`]; the rest of it was not read.
    TooLong {
        number: u64,
    },
    End,
}

impl<R: BufRead> LineReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            number: 0,
        }
    }

    pub(crate) fn next_line(&mut self) -> io::Result<LineRead<'_>> {
        self.next_line_up_to(LINE_LEN_MAX)
    }

    fn next_line_up_to(&mut self, len_max: usize) -> io::Result<LineRead<'_>> {
        if self.buffer.capacity() > BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        let read = (&mut self.input)
            .take(len_max as u64 + 1)
            .read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(LineRead::End);
        }
        self.number += 1;
        let number = self.number;
        match self.buffer.strip_suffix(b"\n") {
            Some(text) => Ok(LineRead::Line { number, text }),
            None if self.buffer.len() > len_max => Ok(LineRead::TooLong { number }),
            None => Ok(LineRead::Line {
                number,
                text: &self.buffer,
            }),
        }
    }
}

/// One long line is not to hold its memory for the rest of the input.
const BUFFER_KEPT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_the_last_needs_no_end() {
        let mut reader = LineReader::new(&b"one\n\nthree"[..]);
        assert_eq!(
            reader.next_line().unwrap(),
            LineRead::Line {
                number: 1,
                text: b"one"
            }
        );
        assert_eq!(
            reader.next_line().unwrap(),
            LineRead::Line {
                number: 2,
                text: b""
            }
        );
        assert_eq!(
            reader.next_line().unwrap(),
            LineRead::Line {
                number: 3,
                text: b"three"
            }
        );
        assert_eq!(reader.next_line().unwrap(), LineRead::End);
    }

    #[test]
    fn a_line_may_have_exactly_the_greatest_length() {
        let mut reader = LineReader::new(&b"1234\n1234"[..]);
        assert_eq!(
            reader.next_line_up_to(4).unwrap(),
            LineRead::Line {
                number: 1,
                text: b"1234"
            }
        );
        assert_eq!(
            reader.next_line_up_to(4).unwrap(),
            LineRead::Line {
                number: 2,
                text: b"1234"
            }
        );
        let mut reader = LineReader::new(&b"12345\n"[..]);
        assert_eq!(
            reader.next_line_up_to(4).unwrap(),
            LineRead::TooLong { number: 1 }
        );
    }
}
