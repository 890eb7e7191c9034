//! Tables in texts: a header, and rows whose cells are found by its names.
//!
//! Claims: a row that is shorter than its header is cut off and an error; two columns of one name are one too.

use super::{BillFault, MOST_ROWS};
use std::collections::BTreeMap;

/// A line and its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u32,
    pub(super) cells: Vec<String>,
}

/// Splits a text into lines of cells; `is_quoted`: a cell may stand in quotation marks, and hold line breaks.
pub(super) fn lines(text: &str, is_quoted: bool) -> Result<Vec<Line>, BillFault> {
    // The reader counts a line where it meets the LF, which of a CR LF is with the next row.
    let text = text.replace("\r\n", "\n");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .quoting(is_quoted)
        .from_reader(text.as_bytes());
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().and_then(|it| u32::try_from(it.line()).ok());
            BillFault { line, what: "this is no line of a table".to_owned() }
        })?;
        let number = record.position().and_then(|it| u32::try_from(it.line()).ok()).unwrap_or(u32::MAX);
        if lines.len() > MOST_ROWS + 64 {
            return Err(BillFault::at(number, format!("a bill has at most {MOST_ROWS} rows")));
        }
        lines.push(Line { number, cells: record.iter().map(str::to_owned).collect() });
    }
    Ok(lines)
}

/// A header.
#[derive(Clone, Debug)]
pub(super) struct Header {
    columns: BTreeMap<String, usize>,
    width: usize,
}

impl Header {
    /// Reads one; brackets and blanks are folded, so that `金额（元）` and `金额(元)` are one name.
    pub(super) fn new(line: &Line, cleaned: impl Fn(&str) -> String) -> Result<Self, BillFault> {
        let mut columns = BTreeMap::new();
        for (at, cell) in line.cells.iter().enumerate() {
            let name = folded(&cleaned(cell));
            if !name.is_empty() && columns.insert(name.clone(), at).is_some() {
                return Err(BillFault::at(line.number, format!("there are two columns named {name}")));
            }
        }
        // A comma at the end of the header is no column.
        let width = columns.values().max().map_or(0, |last| last + 1);
        Ok(Self { columns, width })
    }

    /// Where the first of these names stands.
    pub(super) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.columns.get(&folded(name)).copied())
    }

    /// Where one of these names stands, or the fault that none does.
    pub(super) fn needed(&self, line: &Line, names: &[&str]) -> Result<usize, BillFault> {
        self.find(names).ok_or_else(|| {
            let name = names.first().copied().unwrap_or_default();
            BillFault::at(line.number, format!("the header has no column {name}"))
        })
    }

    /// Is a row as wide as the header?
    pub(super) fn check(&self, line: &Line) -> Result<(), BillFault> {
        match line.cells.len() < self.width {
            true => {
                let (has, wants) = (line.cells.len(), self.width);
                Err(BillFault::at(
                    line.number,
                    format!("it has {has} cells of {wants}: the file is cut off here"),
                ))
            }
            false => Ok(()),
        }
    }
}

fn folded(name: &str) -> String {
    name.trim()
        .chars()
        .filter(|it| !it.is_whitespace())
        .map(|it| match it {
            '（' => '(',
            '）' => ')',
            '＋' => '+',
            '－' => '-',
            '／' => '/',
            other => other,
        })
        .collect()
}
