//! Aligned columns for people.

use std::io::{self, Write};

use crate::figures::printable;

/// Rows of cells; each column is as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    align: [Align; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Align {
    Left,
    Right,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(align: [Align; COLUMNS]) -> Self {
        Self {
            align,
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells may hold foreign text: control characters are escaped.
    pub(crate) fn row(&mut self, cells: [impl AsRef<str>; COLUMNS]) {
        self.rows
            .push(cells.map(|cell| printable(cell.as_ref()).into_owned()));
    }

    /// Two spaces before every column, none at the end of a line.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(self.align).zip(widths) {
                match align {
                    Align::Left => line.push_str(&format!("  {cell:<width$}")),
                    Align::Right => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let mut table = Table::new([Align::Right, Align::Left]);
        table.row(["1", "one"]);
        table.row(["1000", "a\tb"]);
        table.row(["7", ""]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "     1  one\n  1000  a\\tb\n     7\n"
        );
    }
}
