//! Tables on their way into a file: columns, cells, and one writer for each format.
//!
//! Claims: a row is written and forgotten; an amount loses no digit in any format; no text of anybody's is taken for a formula by
//! what opens the file.

use super::{ExportError, parquet::ParquetFile, workbook::Workbook};
use domain::Moment;
use std::io::Write;

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, in the first row.
    pub name: &'static str,
    /// What its cells are.
    pub kind: ColumnKind,
}

/// What a column's cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Words and ids: never numbers, whatever they look like.
    Text,
    /// Counts and positions.
    Count,
    /// Decimal numbers, written as they are.
    Amount,
}

/// A column of words.
pub const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Text }
}

/// A column of counts.
pub const fn count(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Count }
}

/// A column of amounts.
pub const fn amount(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Amount }
}

/// What stands in a row and a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A text.
    Text(String),
    /// A count.
    Count(u64),
    /// A decimal number such as `-0.5`.
    Amount(String),
}

impl Cell {
    /// A text of anything that can be shown.
    pub fn text(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// A text, or nothing.
    pub fn opt_text(value: Option<impl std::fmt::Display>) -> Self {
        value.map_or(Self::Empty, Self::text)
    }

    /// A decimal number.
    pub fn amount(value: impl std::fmt::Display) -> Self {
        Self::Amount(value.to_string())
    }

    /// A moment in UTC, as RFC 3339.
    pub fn moment(at: Moment) -> Self {
        Self::text(at)
    }
}

/// A table that is being written.
pub enum Table<W: Write + Send> {
    /// Comma-separated values.
    Csv(W),
    /// A workbook of one sheet.
    Xlsx(Box<Workbook>, W),
    /// Columns in groups of rows.
    Parquet(Box<ParquetFile<W>>),
}

/// Formats of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated values, UTF-8 with a mark that spreadsheets know it by.
    Csv,
    /// An Excel workbook.
    Xlsx,
    /// Parquet.
    Parquet,
}

/// How spreadsheets tell UTF-8 from what their country once used.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl<W: Write + Send> Table<W> {
    /// Begins a file with its column names.
    pub fn begin(
        format: TableFormat,
        name: &str,
        columns: &[Column],
        mut out: W,
    ) -> Result<Self, ExportError> {
        Ok(match format {
            TableFormat::Csv => {
                out.write_all(BYTE_ORDER_MARK)?;
                let names: Vec<Cell> = columns.iter().map(|it| Cell::text(it.name)).collect();
                write_csv(&mut out, &names)?;
                Self::Csv(out)
            }
            TableFormat::Xlsx => Self::Xlsx(Box::new(Workbook::begin(name, columns)?), out),
            TableFormat::Parquet => Self::Parquet(Box::new(ParquetFile::begin(columns, out)?)),
        })
    }

    /// Writes a row. Errors: the file cannot be written; a workbook is full.
    pub fn row(&mut self, cells: &[Cell]) -> Result<(), ExportError> {
        match self {
            Self::Csv(out) => write_csv(out, cells),
            Self::Xlsx(book, _) => book.row(cells),
            Self::Parquet(file) => file.row(cells),
        }
    }

    /// Ends the file.
    pub fn finish(self) -> Result<W, ExportError> {
        match self {
            Self::Csv(mut out) => {
                out.flush()?;
                Ok(out)
            }
            Self::Xlsx(book, mut out) => {
                book.finish(&mut out)?;
                out.flush()?;
                Ok(out)
            }
            Self::Parquet(file) => file.finish(),
        }
    }
}

fn write_csv(out: &mut impl Write, cells: &[Cell]) -> Result<(), ExportError> {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        match cell {
            Cell::Empty => {}
            Cell::Count(count) => line.push_str(&count.to_string()),
            // Ours, and always a number: a sign in front of it is a sign.
            Cell::Amount(number) => line.push_str(number),
            Cell::Text(text) => push_quoted(&mut line, text),
        }
    }
    line.push_str("\r\n");
    out.write_all(line.as_bytes())?;
    Ok(())
}

/// A text as a spreadsheet may safely open it: what would begin a formula gets an apostrophe before it, and quotes where the
/// format needs them (RFC 4180).
fn push_quoted(line: &mut String, text: &str) {
    let guarded = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = guarded || text.contains([',', '"', '\n', '\r']);
    if !quoted {
        line.push_str(text);
        return;
    }
    line.push('"');
    if guarded {
        line.push('\'');
    }
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_formula_and_no_amount_loses_its_sign() {
        let mut table =
            Table::begin(TableFormat::Csv, "t", &[text("a"), amount("b"), count("c")], Vec::new()).unwrap();
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"] {
            table.row(&[Cell::text(bad), Cell::amount("-0.5"), Cell::Count(7)]).unwrap();
        }
        table.row(&[Cell::text("a \"b\", c"), Cell::Empty, Cell::Empty]).unwrap();
        table.row(&[Cell::text("plain-text=ok"), Cell::amount("9223372036.854775807"), Cell::Empty]).unwrap();
        let text = String::from_utf8(table.finish().unwrap()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], "\u{feff}a,b,c");
        assert_eq!(lines[1], "\"'=1+1\",-0.5,7");
        assert!(text.contains("\"'+1\",") && text.contains("\"'-1\",") && text.contains("\"'@SUM(A1)\","));
        assert!(text.contains("\"'\tx\",") && text.contains("\"'\rx\","));
        assert!(
            text.contains("\"a \"\"b\"\", c\",,") && text.contains("plain-text=ok,9223372036.854775807,")
        );
    }
}
