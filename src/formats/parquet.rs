//! Columns of Parquet files: bytes and numbers, row by row.
//!
//! Owns finding a column by its dotted name and reading ranges of rows of it, one page at a time. Deliberately reads
//! neither lists nor maps, and knows nothing of what the bytes hold.

use super::rows::DataError;
use crate::tensor::{DType, Tensor};
use ::parquet::basic::Type as Physical;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A file of which only the footer has been read.
pub struct Table {
    place: String,
    file: SerializedFileReader<File>,
    /// The first row of each row group, and behind the last.
    starts: Vec<usize>,
}

/// A column of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    leaf: usize,
    kind: Physical,
    /// The definition level of a value that is there.
    level: i16,
}

/// Where reading of a column stands.
pub struct Cursor {
    column: Column,
    group: usize,
    /// The next row of the group.
    row: usize,
    reader: ColumnReader,
}

impl Table {
    /// Opens a file by its footer.
    ///
    /// # Errors
    /// When it cannot be read or is no Parquet file.
    pub fn open(path: &Path) -> Result<Table, DataError> {
        let place = path.display().to_string();
        let file = File::open(path).map_err(|error| DataError::io(&place, error))?;
        let file = guarded(&place, || SerializedFileReader::new(file))?;
        let mut starts = vec![0_usize];
        for group in file.metadata().row_groups() {
            let rows = usize::try_from(group.num_rows()).ok();
            let end = rows.and_then(|rows| starts[starts.len() - 1].checked_add(rows));
            let problem = || DataError::malformed(&place, "a row group has an impossible number of rows");
            starts.push(end.ok_or_else(problem)?);
        }
        Ok(Table { place, file, starts })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// The column of that dotted name, as `image.bytes`.
    ///
    /// # Errors
    /// When there is none, or when it holds lists.
    pub fn column(&self, name: &str) -> Result<Column, DataError> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let found = schema
            .columns()
            .iter()
            .position(|column| column.path().string() == name);
        let Some(leaf) = found else {
            let have = schema.columns().iter().map(|column| column.path().string());
            return Err(DataError::NoSuchName {
                place: self.place.clone(),
                what: "column",
                name: name.to_owned(),
                have: have.collect(),
            });
        };
        let column = schema.column(leaf);
        if column.max_rep_level() > 0 {
            let problem = format!("column {name:?} holds lists, which are not read");
            return Err(DataError::malformed(&self.place, problem));
        }
        Ok(Column {
            leaf,
            kind: column.physical_type(),
            level: column.max_def_level(),
        })
    }

    /// Whether there is a column of that dotted name.
    pub fn has(&self, name: &str) -> bool {
        let schema = self.file.metadata().file_metadata().schema_descr();
        schema.columns().iter().any(|column| column.path().string() == name)
    }

    /// A cursor at `row`: `old` where it stands at or before it in the same group, else a new one.
    fn cursor(&self, column: Column, row: usize, old: Option<Cursor>) -> Result<Cursor, DataError> {
        let group = self.starts.partition_point(|&start| start <= row).saturating_sub(1);
        let within = row - self.starts[group];
        let mut cursor = match old {
            Some(old) if old.column == column && old.group == group && old.row <= within => old,
            _ => Cursor {
                column,
                group,
                row: 0,
                reader: guarded(&self.place, || {
                    self.file.get_row_group(group)?.get_column_reader(column.leaf)
                })?,
            },
        };
        let skip = within - cursor.row;
        if skip > 0 {
            let skipped = guarded(&self.place, || skip_rows(&mut cursor.reader, skip))?;
            if skipped != skip {
                return Err(self.short(row));
            }
            cursor.row = within;
        }
        Ok(cursor)
    }

    fn short(&self, row: usize) -> DataError {
        DataError::malformed(&self.place, format!("cut short: row {row} is missing"))
    }

    /// Reads rows `start..end` of a column, one row group at a time.
    fn each(
        &self,
        column: Column,
        start: usize,
        end: usize,
        old: Option<Cursor>,
        mut read: impl FnMut(&mut ColumnReader, usize) -> Result<(usize, usize), ParquetError>,
    ) -> Result<Option<Cursor>, DataError> {
        let (mut at, mut old) = (start, old);
        while at < end.min(self.rows()) {
            let mut cursor = self.cursor(column, at, old.take())?;
            let group_end = self.starts[cursor.group + 1].min(end);
            while at < group_end {
                let (records, values) = guarded(&self.place, || read(&mut cursor.reader, group_end - at))?;
                if records == 0 {
                    return Err(self.short(at));
                }
                if values != records {
                    let problem = format!("a value is missing (null) among rows {at}..{}", at + records);
                    return Err(DataError::malformed(&self.place, problem));
                }
                at += records;
                cursor.row += records;
            }
            old = Some(cursor);
        }
        Ok(old)
    }

    /// Rows `start..end` of a column of bytes.
    ///
    /// # Errors
    /// When one is missing, or the file is damaged.
    pub fn bytes(
        &self,
        column: Column,
        start: usize,
        end: usize,
        cursor: &mut Option<Cursor>,
    ) -> Result<Vec<ByteArray>, DataError> {
        let mut found = Vec::new();
        let after = self.each(column, start, end, cursor.take(), |reader, most| match reader {
            ColumnReader::ByteArrayColumnReader(reader) => records(reader, most, column.level, &mut found),
            _ => Err(ParquetError::General("the column holds no bytes".into())),
        })?;
        *cursor = after;
        Ok(found)
    }

    /// Rows `start..end` of a column of numbers, as int64 or float32.
    ///
    /// # Errors
    /// When one is missing, or the file is damaged.
    pub fn numbers(
        &self,
        column: Column,
        start: usize,
        end: usize,
        cursor: &mut Option<Cursor>,
    ) -> Result<Tensor, DataError> {
        let (mut ints, mut floats) = (Vec::new(), Vec::new());
        let level = column.level;
        let after = self.each(column, start, end, cursor.take(), |reader, most| match reader {
            ColumnReader::Int64ColumnReader(reader) => records(reader, most, level, &mut ints),
            ColumnReader::Int32ColumnReader(reader) => {
                let mut some = Vec::new();
                let count = records(reader, most, level, &mut some)?;
                ints.extend(some.into_iter().map(i64::from));
                Ok(count)
            }
            ColumnReader::BoolColumnReader(reader) => {
                let mut some = Vec::new();
                let count = records(reader, most, level, &mut some)?;
                ints.extend(some.into_iter().map(i64::from));
                Ok(count)
            }
            ColumnReader::FloatColumnReader(reader) => records(reader, most, level, &mut floats),
            ColumnReader::DoubleColumnReader(reader) => {
                let mut some = Vec::new();
                let count = records(reader, most, level, &mut some)?;
                floats.extend(some.into_iter().map(|value| value as f32));
                Ok(count)
            }
            _ => Err(ParquetError::General("the column holds no numbers".into())),
        })?;
        *cursor = after;
        Ok(match column.dtype() {
            Some(DType::F32) => Tensor::from_f32([floats.len()], &floats),
            _ => Tensor::from_i64([ints.len()], &ints),
        })
    }
}

impl Column {
    /// The type of numbers that [`Table::numbers`] gives; `None` for a column of anything else.
    pub fn dtype(self) -> Option<DType> {
        match self.kind {
            Physical::INT32 | Physical::INT64 | Physical::BOOLEAN => Some(DType::I64),
            Physical::FLOAT | Physical::DOUBLE => Some(DType::F32),
            _ => None,
        }
    }

    /// Whether it holds bytes.
    pub fn is_bytes(self) -> bool {
        self.kind == Physical::BYTE_ARRAY
    }
}

/// Reads up to `most` rows; gives how many there were, and how many of them hold a value.
fn records<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    most: usize,
    level: i16,
    values: &mut Vec<T::T>,
) -> Result<(usize, usize), ParquetError> {
    let mut levels = Vec::new();
    let wanted = (level > 0).then_some(&mut levels);
    let (records, found, _) = reader.read_records(most, wanted, None, values)?;
    Ok((records, found))
}

fn skip_rows(reader: &mut ColumnReader, rows: usize) -> Result<usize, ParquetError> {
    fn skip<T: DataType>(reader: &mut ColumnReaderImpl<T>, rows: usize) -> Result<usize, ParquetError> {
        reader.skip_records(rows)
    }
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => skip::<ByteArrayType>(reader, rows),
        ColumnReader::Int64ColumnReader(reader) => skip::<Int64Type>(reader, rows),
        ColumnReader::Int32ColumnReader(reader) => skip::<Int32Type>(reader, rows),
        ColumnReader::BoolColumnReader(reader) => skip::<BoolType>(reader, rows),
        ColumnReader::FloatColumnReader(reader) => skip::<FloatType>(reader, rows),
        ColumnReader::DoubleColumnReader(reader) => skip::<DoubleType>(reader, rows),
        _ => Err(ParquetError::General(
            "the column holds neither bytes nor numbers".into(),
        )),
    }
}

/// The crate checks what it reads mostly, but not always: a panic within it is a damaged file as well.
fn guarded<T>(place: &str, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(DataError::malformed(place, error.to_string())),
        Err(_) => Err(DataError::malformed(place, "damaged: a page cannot be read")),
    }
}
