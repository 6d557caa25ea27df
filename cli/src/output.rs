//! Standard output: buffered, and JSON on it.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

/// Standard output through a buffer that holds a few hundred events.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock())
}

/// One JSON value on one line.
pub(crate) fn write_json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

const BUFFER_LEN: usize = 64 << 10;
