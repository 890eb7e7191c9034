//! Making a file: what of the tables stands in which column.

use super::beancount::Beancount;
use super::table::{Cell, Column, Table, TableFormat, amount, count, text};
use super::{Books, ExportError, Progress, unmatched};
use crate::directory::export::{ExportFormat, ExportKind, Made, Wanted};
use crate::directory::reconciliation::DifferenceState;
use crate::directory::unmatched::UnmatchedKind;
use crate::directory::{now, unmatched as open_items};
use domain::{Credits, Moment, Unit};
use projections::exports::{JournalLine, LineSource, Reader, Span, UsageLine};
use projections::{DatabaseError, periods};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What is written, counted and summed on its way to the disk.
struct Counted<W: Write> {
    out: W,
    bytes: u64,
    hash: Sha256,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

type Out = BufWriter<Counted<File>>;

/// A reader's own error that ends its reading, with what the writer has to say kept beside it.
#[derive(Default)]
struct Fault(Option<ExportError>);

impl Fault {
    fn note(&mut self, written: Result<(), ExportError>) -> Result<(), DatabaseError> {
        written.map_err(|error| {
            self.0 = Some(error);
            DatabaseError::Config("what was read could not be written".to_owned())
        })
    }

    /// The writer's fault goes before the reader's, which is its echo.
    fn ended(self, read: Result<(), DatabaseError>) -> Result<(), ExportError> {
        match self.0 {
            Some(error) => Err(error),
            None => Ok(read?),
        }
    }
}

/// Makes a file.
pub(crate) async fn make(
    books: &Books,
    wanted: &Wanted,
    path: &Path,
    progress: &Progress,
) -> Result<Made, ExportError> {
    let span = match wanted.month {
        Some(month) => periods::span(&books.db, month).await?,
        None => Span::days(wanted.from, wanted.to),
    };
    let out = BufWriter::with_capacity(
        1 << 16,
        Counted { out: File::create(path)?, bytes: 0, hash: Sha256::new() },
    );
    let mut reader = Reader::open(&books.db).await?;
    let position = reader.position();
    let out = match table_format(wanted.format) {
        Some(format) => table(&mut reader, books, (wanted, &span), format, out, progress).await?,
        None => beancount(&mut reader, wanted, &span, out, progress).await?,
    };
    reader.close().await?;
    let counted = out.into_inner().map_err(|error| ExportError::Io(error.into_error()))?;
    counted.out.sync_all()?;
    Ok(Made {
        rows: progress.rows(),
        bytes: counted.bytes,
        sha256: hex::encode(counted.hash.finalize()),
        position,
    })
}

fn table_format(format: ExportFormat) -> Option<TableFormat> {
    match format {
        ExportFormat::Csv => Some(TableFormat::Csv),
        ExportFormat::Xlsx => Some(TableFormat::Xlsx),
        ExportFormat::Parquet => Some(TableFormat::Parquet),
        ExportFormat::Beancount => None,
    }
}

const JOURNAL: [Column; 11] = [
    text("day"),
    text("at_utc"),
    text("type"),
    text("event"),
    count("line"),
    text("account"),
    text("book"),
    text("unit"),
    amount("debit"),
    amount("credit"),
    count("entries"),
];
const TRIAL: [Column; 7] = [
    text("unit"),
    text("book"),
    amount("opening"),
    amount("debit"),
    amount("credit"),
    amount("closing"),
    count("entries"),
];
const BILLING: [Column; 15] = [
    text("id"),
    text("user_id"),
    text("type"),
    text("status"),
    text("reference"),
    text("transaction_id"),
    text("description"),
    amount("amount"),
    text("currency"),
    amount("credits"),
    count("requests"),
    text("day"),
    text("time_zone_of_day"),
    text("created_at_utc"),
    text("updated_at_utc"),
];
const MARGIN: [Column; 8] = [
    text("model"),
    text("provider"),
    count("calls"),
    amount("charge"),
    amount("paid"),
    amount("uncovered"),
    amount("cost"),
    amount("margin"),
];
const DEFERRED: [Column; 8] = [
    text("day"),
    text("account"),
    text("currency"),
    amount("paid"),
    amount("credits_bought"),
    amount("credits_unspent"),
    amount("deferred"),
    amount("credits_owed"),
];

fn usage_columns() -> Vec<Column> {
    let mut columns = vec![text("day"), text("account"), text("key"), text("model"), text("provider")];
    columns.extend([count("calls"), count("errors")]);
    columns.extend(UsageLine::QUANTITIES.map(count));
    columns.extend([amount("charge"), amount("paid"), amount("uncovered"), amount("cost")]);
    columns
}

async fn table(
    reader: &mut Reader,
    books: &Books,
    (wanted, span): (&Wanted, &Span),
    format: TableFormat,
    out: Out,
    progress: &Progress,
) -> Result<Out, ExportError> {
    let (from, to) = (wanted.from, wanted.to);
    let usage = usage_columns();
    let (name, columns): (_, &[Column]) = match wanted.kind {
        ExportKind::Journal => ("journal", &JOURNAL),
        ExportKind::TrialBalance => ("trial balance", &TRIAL),
        ExportKind::Billing => ("billing", &BILLING),
        ExportKind::Usage => ("usage", &usage),
        ExportKind::DeferredRevenue => ("deferred revenue", &DEFERRED),
        ExportKind::Margin => ("margin", &MARGIN),
        ExportKind::Unmatched => ("unmatched", &unmatched::COLUMNS),
    };
    // Read before the table is begun, and told of as far as the reader's state goes.
    let mut in_suspense = match wanted.kind {
        ExportKind::Unmatched => in_suspense(books, reader.position()).await?,
        ExportKind::Journal
        | ExportKind::TrialBalance
        | ExportKind::Billing
        | ExportKind::Usage
        | ExportKind::DeferredRevenue
        | ExportKind::Margin => Vec::new(),
    };
    let mut table = Table::begin(format, name, columns, out)?;
    let mut fault = Fault::default();
    let mut write = |cells: &[Cell]| fault.note(table.row(cells).and_then(|()| progress.row()));
    let read = match wanted.kind {
        ExportKind::Journal => {
            progress.expect(reader.count_lines(span).await?);
            reader.lines(span, |it| write(&journal_cells(&it))).await
        }
        ExportKind::TrialBalance => {
            let in_unit = |unit: Unit, sum| Cell::amount(unit.decimal(sum));
            reader
                .trial(span, false, |it| {
                    write(&[
                        Cell::text(it.unit),
                        Cell::text(&it.book),
                        in_unit(it.unit, it.opening),
                        in_unit(it.unit, it.debit),
                        in_unit(it.unit, it.credit),
                        in_unit(it.unit, it.closing()),
                        Cell::Count(it.entries),
                    ])
                })
                .await
        }
        ExportKind::Billing => {
            progress.expect(reader.count_billing(from, to).await?);
            reader
                .billing(from, to, |it| {
                    write(&[
                        Cell::text(&it.id),
                        Cell::text(it.account),
                        Cell::text(it.kind.as_str()),
                        Cell::text(it.status.as_str()),
                        Cell::text(&it.reference),
                        Cell::opt_text(it.transaction_id.as_ref()),
                        Cell::text(&it.description),
                        it.money.map_or(Cell::Empty, |it| Cell::amount(it.amount())),
                        Cell::opt_text(it.money.map(|it| it.currency)),
                        Cell::amount(it.quota_amount),
                        Cell::Count(it.requests),
                        Cell::text(&it.day),
                        Cell::text(&it.time_zone),
                        Cell::moment(it.created_at),
                        Cell::moment(it.updated_at),
                    ])
                })
                .await
        }
        ExportKind::Usage => {
            progress.expect(reader.count_usage(from, to).await?);
            reader.usage(from, to, |it| write(&usage_cells(&it))).await
        }
        ExportKind::Margin => {
            reader
                .margin(from, to, |it| {
                    let margin = it.paid.checked_sub(it.cost).unwrap_or(Credits::ZERO);
                    write(&[
                        Cell::text(&it.model),
                        Cell::text(&it.provider),
                        Cell::Count(it.calls),
                        Cell::amount(it.charge),
                        Cell::amount(it.paid),
                        Cell::amount(it.uncovered),
                        Cell::amount(it.cost),
                        Cell::amount(margin),
                    ])
                })
                .await
        }
        ExportKind::Unmatched => {
            let (at, until) = (now(), midnight_behind(wanted, books));
            let mut write = |it: &open_items::Item| write(&unmatched::cells(it, at));
            in_suspense.retain(|it| it.since < until);
            match in_suspense.iter().try_for_each(&mut write) {
                Ok(()) => {
                    // Its bill's row says the same of it once more, until somebody looks after that.
                    let is_told = |it: &open_items::Item| {
                        it.kind == UnmatchedKind::Difference
                            && it.state == DifferenceState::Open.as_str()
                            && in_suspense.iter().any(|held| held.is_payment_of(it))
                    };
                    open_items::read(reader, until, |it| if is_told(&it) { Ok(()) } else { write(&it) }).await
                }
                Err(error) => Err(error),
            }
        }
        ExportKind::DeferredRevenue => {
            let day = span.until.day;
            reader
                .deferred(&span.until, |it| {
                    let (money, credits) = (Unit::Money(it.currency), Unit::Credits);
                    write(&[
                        Cell::text(day),
                        Cell::text(it.account),
                        Cell::text(it.currency),
                        Cell::amount(money.decimal(it.paid_minor)),
                        Cell::amount(credits.decimal(it.bought)),
                        Cell::amount(credits.decimal(it.unspent)),
                        Cell::amount(money.decimal(it.deferred_minor)),
                        Cell::amount(credits.decimal(it.owed)),
                    ])
                })
                .await
        }
    };
    fault.ended(read)?;
    table.finish()
}

/// What waits in suspense at a position of the log, the oldest first.
async fn in_suspense(books: &Books, position: u64) -> Result<Vec<open_items::Item>, ExportError> {
    let Some(ledger) = &books.ledger else { return Ok(Vec::new()) };
    let mut items = Vec::new();
    for channel in ledger.log().suspense_channels().await? {
        let state = ledger.log().suspense(&channel).await?;
        let waiting = state
            .all()
            .filter_map(|(payment, held)| open_items::Item::held(&channel, payment, held, position));
        items.extend(waiting);
    }
    items.sort_by_key(|it| it.since);
    Ok(items)
}

/// The first moment behind the last day that is wanted.
fn midnight_behind(wanted: &Wanted, books: &Books) -> Moment {
    let next = wanted.to.succ_opt().unwrap_or(wanted.to).and_time(chrono::NaiveTime::MIN).and_utc();
    let ahead = i64::from(books.zone.local_minus_utc()).saturating_mul(1_000);
    Moment::from(next).plus_ms(-ahead)
}

fn journal_cells(it: &JournalLine) -> [Cell; JOURNAL.len()] {
    let (event, line, at) = match &it.source {
        LineSource::Event { event_seq, line, at } => {
            (Cell::text(event_seq), Cell::Count((*line).into()), Cell::moment(*at))
        }
        LineSource::Usage => (Cell::Empty, Cell::Empty, Cell::Empty),
    };
    [
        Cell::text(&it.day),
        at,
        Cell::text(&it.kind),
        event,
        line,
        Cell::opt_text(it.account),
        Cell::text(&it.book),
        Cell::text(it.unit),
        Cell::amount(it.unit.decimal(it.debit)),
        Cell::amount(it.unit.decimal(it.credit)),
        Cell::Count(it.entries),
    ]
}

fn usage_cells(it: &UsageLine) -> Vec<Cell> {
    let mut cells = vec![
        Cell::text(&it.day),
        Cell::text(it.account),
        Cell::text(&it.key),
        Cell::text(&it.model),
        Cell::text(&it.provider),
        Cell::Count(it.calls),
        Cell::Count(it.errors),
    ];
    cells.extend(it.quantities.map(Cell::Count));
    cells.extend([it.charge, it.paid, it.uncovered, it.cost].map(Cell::amount));
    cells
}

/// The journal for beancount: every book opened, what it had before, the lines, and what it must have at the end.
async fn beancount(
    reader: &mut Reader,
    wanted: &Wanted,
    span: &Span,
    out: Out,
    progress: &Progress,
) -> Result<Out, ExportError> {
    let first = span.after.day.succ_opt().unwrap_or(span.after.day).to_string();
    let behind = span.until.day.succ_opt().unwrap_or(span.until.day).to_string();
    progress.expect(reader.count_lines(span).await?);
    let title = format!("NexusRoute {} to {}", wanted.from, wanted.to);
    let mut file = Beancount::begin(out, &title, &first)?;
    let mut fault = Fault::default();
    let read = reader.trial(span, true, |it| fault.note(file.open(&it.book).map_err(Into::into))).await;
    fault.ended(read)?;
    let mut fault = Fault::default();
    let read = reader
        .trial(span, true, |it| match it.opening {
            0 => Ok(()),
            before => fault.note(file.opening(&it.book, it.unit, before).map_err(Into::into)),
        })
        .await;
    fault.ended(read)?;
    let mut fault = Fault::default();
    let read = reader
        .lines(span, |it| fault.note(file.line(&it).map_err(Into::into).and_then(|()| progress.row())))
        .await;
    fault.ended(read)?;
    let mut fault = Fault::default();
    let read = reader
        .trial(span, false, |it| {
            fault.note(file.balance(&behind, &it.book, it.unit, it.closing()).map_err(Into::into))
        })
        .await;
    fault.ended(read)?;
    Ok(file.finish()?)
}
