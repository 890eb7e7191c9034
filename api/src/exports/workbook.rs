//! Excel workbooks, row by row.
//!
//! A sheet's rows go to a temporary file as they come, so that a million of them need no memory. A spreadsheet counts in binary
//! floating point: an amount that fifteen digits hold is a number, which can be added up; a longer one is a text, which loses
//! nothing. Texts are texts: none is a formula, and no id a number.

use super::ExportError;
use super::table::{Cell, Column, ColumnKind};
use rust_xlsxwriter::{Format, Workbook as Book, XlsxError};
use std::io::{Seek as _, SeekFrom, Write};

/// The most rows of a sheet, the names among them.
pub const MOST_ROWS: u32 = 1_048_576;
/// The most characters of a cell.
const MOST_CHARACTERS: usize = 32_767;
/// The digits that binary floating point gives back as they were.
const EXACT_DIGITS: usize = 15;

/// A workbook of one sheet, under way.
pub struct Workbook {
    book: Book,
    next: u32,
}

impl Workbook {
    /// With the names of the columns.
    pub fn begin(name: &str, columns: &[Column]) -> Result<Self, ExportError> {
        let mut book = Book::new();
        let sheet = book.add_worksheet_with_constant_memory()?;
        sheet.set_name(name)?;
        sheet.set_freeze_panes(1, 0)?;
        let bold = Format::new().set_bold();
        for (at, column) in (0_u16..).zip(columns) {
            let width = match column.kind {
                ColumnKind::Text => 24,
                ColumnKind::Count => 12,
                ColumnKind::Amount => 20,
            };
            sheet.set_column_width(at, width)?;
        }
        for (at, column) in (0_u16..).zip(columns) {
            sheet.write_string_with_format(0, at, column.name, &bold)?;
        }
        Ok(Self { book, next: 1 })
    }

    /// Writes a row. Errors: the sheet is full.
    pub fn row(&mut self, cells: &[Cell]) -> Result<(), ExportError> {
        if self.next >= MOST_ROWS {
            return Err(ExportError::WorkbookFull);
        }
        let row = self.next;
        self.next += 1;
        let sheet = self.book.worksheet_from_index(0)?;
        for (at, cell) in (0_u16..).zip(cells) {
            match cell {
                Cell::Empty => continue,
                Cell::Text(text) if text.chars().count() > MOST_CHARACTERS => {
                    sheet.write_string(row, at, text.chars().take(MOST_CHARACTERS).collect::<String>())?
                }
                Cell::Text(text) => sheet.write_string(row, at, text)?,
                Cell::Count(count) => match exact(&count.to_string()) {
                    Some(number) => sheet.write_number(row, at, number)?,
                    None => sheet.write_string(row, at, count.to_string())?,
                },
                Cell::Amount(text) => match exact(text) {
                    Some(number) => sheet.write_number(row, at, number)?,
                    None => sheet.write_string(row, at, text)?,
                },
            };
        }
        Ok(())
    }

    /// Writes the workbook out.
    pub fn finish(mut self, out: &mut impl Write) -> Result<(), ExportError> {
        // The archive's writer goes back over what it wrote, which not every place lets it.
        let mut file = tempfile::tempfile()?;
        self.book.save_to_writer(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        std::io::copy(&mut file, out)?;
        Ok(())
    }
}

/// The number that a spreadsheet holds without losing a digit; `None`: there is none.
fn exact(text: &str) -> Option<f64> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let leading = text.bytes().filter(|byte| *byte != b'-').take_while(|byte| matches!(byte, b'0' | b'.'));
    let leading = leading.filter(|byte| *byte == b'0').count();
    if digits - leading <= EXACT_DIGITS { text.parse().ok() } else { None }
}

impl From<XlsxError> for ExportError {
    fn from(error: XlsxError) -> Self {
        Self::Format(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::exact;

    #[test]
    fn an_amount_is_a_number_only_where_a_spreadsheet_gives_it_back_as_it_was() {
        for text in
            ["0", "-0.000000001", "50.5", "123456.123456789", "-999999.999999999", "0.123456789012345"]
        {
            // The shortest text of a number is what it was read from, or digits were lost.
            let shown = exact(text).unwrap();
            assert_eq!(rust_decimal::Decimal::from_str_exact(&format!("{shown}")).unwrap().to_string(), text);
        }
        for text in ["1000000.123456789", "-9223372036.854775807", "1234567890123456"] {
            assert_eq!(exact(text), None, "{text}");
        }
    }
}
