//! Parquet files, a group of rows at a time.
//!
//! Words, days and ids are UTF-8. Amounts are too: a decimal number as it is written, for no type of fixed digits holds the sums
//! of nano-credits and of every currency's minor units alike; readers cast them to the decimal they like. Counts are 64-bit
//! integers. Every column may be empty.

use super::ExportError;
use super::table::{Cell, Column, ColumnKind};
use parquet::basic::{Compression, ConvertedType, GzipLevel, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::io::Write;
use std::sync::Arc;

/// Rows that are held until they are written together.
const GROUP: usize = 20_000;

/// A file under way.
pub struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Values>,
    rows: usize,
}

/// A column of the present group.
enum Values {
    Texts(Vec<i16>, Vec<ByteArray>),
    Counts(Vec<i16>, Vec<i64>),
}

impl<W: Write + Send> ParquetFile<W> {
    /// With these columns.
    pub fn begin(columns: &[Column], out: W) -> Result<Self, ExportError> {
        let field = |column: &Column| {
            let (physical, converted, logical) = match column.kind {
                ColumnKind::Text | ColumnKind::Amount => {
                    (Physical::BYTE_ARRAY, ConvertedType::UTF8, Some(LogicalType::String))
                }
                ColumnKind::Count => (Physical::INT64, ConvertedType::NONE, None),
            };
            let field = Type::primitive_type_builder(column.name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_converted_type(converted)
                .with_logical_type(logical)
                .build()?;
            Ok::<_, ParquetError>(Arc::new(field))
        };
        let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
        let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::default()))
            .set_created_by("NexusRoute".to_owned())
            .build();
        let values = columns.iter().map(|column| match column.kind {
            ColumnKind::Text | ColumnKind::Amount => Values::Texts(Vec::new(), Vec::new()),
            ColumnKind::Count => Values::Counts(Vec::new(), Vec::new()),
        });
        Ok(Self {
            writer: SerializedFileWriter::new(out, schema, Arc::new(properties))?,
            columns: values.collect(),
            rows: 0,
        })
    }

    /// Takes a row.
    pub fn row(&mut self, cells: &[Cell]) -> Result<(), ExportError> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Values::Texts(there, _) | Values::Counts(there, _), Cell::Empty) => there.push(0),
                (Values::Texts(there, texts), Cell::Text(text) | Cell::Amount(text)) => {
                    there.push(1);
                    texts.push(text.as_str().into());
                }
                (Values::Texts(there, texts), Cell::Count(count)) => {
                    there.push(1);
                    texts.push(count.to_string().as_str().into());
                }
                (Values::Counts(there, counts), Cell::Count(count)) => {
                    there.push(1);
                    counts.push(i64::try_from(*count).unwrap_or(i64::MAX));
                }
                (Values::Counts(..), Cell::Text(_) | Cell::Amount(_)) => {
                    return Err(ExportError::Format("a text stands in a column of counts".to_owned()));
                }
            }
        }
        self.rows += 1;
        if self.rows >= GROUP { self.write_group() } else { Ok(()) }
    }

    /// Writes the rest, and what readers find the columns by.
    pub fn finish(mut self) -> Result<W, ExportError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        Ok(self.writer.into_inner()?)
    }

    fn write_group(&mut self) -> Result<(), ExportError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut writer) = group.next_column()? else { break };
            match column {
                Values::Texts(there, texts) => {
                    writer.typed::<ByteArrayType>().write_batch(texts, Some(there), None)?;
                    there.clear();
                    texts.clear();
                }
                Values::Counts(there, counts) => {
                    writer.typed::<Int64Type>().write_batch(counts, Some(there), None)?;
                    there.clear();
                    counts.clear();
                }
            }
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl From<ParquetError> for ExportError {
    fn from(error: ParquetError) -> Self {
        Self::Format(error.to_string())
    }
}
