//! The protocol's frames: a line of JSON, and behind it as many bytes of safetensors as the line says.
//!
//! Owns what is written to a plug-in and the bounded reading of what comes back; docs/plugin-protocol.md is its
//! description. Whatever bytes come, reading ends with an answer or an error, in memory that does not depend on what
//! they claim. Deliberately knows nothing of processes, pipes and time.

use crate::formats::safetensors;
use crate::tensor::Tensor;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, Read, Write};

/// The version of the protocol.
pub const VERSION: u64 = 1;

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 16 << 20;

/// What a line of the wrong kind is shown as, in bytes.
const SHOWN: usize = 120;

/// What a plug-in is asked. Each is answered by one frame with the same id.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Who are you?
    Hello { protocol: u64 },
    /// One value for each sample; behind it the tensors.
    Values { cell: String, first: usize, samples: usize },
    /// Begins a cell.
    Reset { cell: String },
    /// Takes samples into a cell; behind it the tensors.
    Update { cell: String, first: usize, samples: usize },
    /// The cell's number; the cell is forgotten.
    Finish { cell: String },
    /// The cell as text, for another process.
    State { cell: String },
    /// Takes another process's cell in, whose samples come behind this one's.
    Merge { cell: String, state: String },
    /// The cell is wanted no more.
    Drop { cell: String },
    /// Samples of a dataset, by number; behind the answer their tensors.
    Read { rows: Vec<usize> },
    /// Begins a stream again.
    Rewind {},
    /// The end; the plug-in leaves, and answers nothing.
    Bye {},
    /// What no version asks, and a plug-in refuses as it will refuse what later versions ask.
    Later {},
}

#[derive(Serialize)]
struct Request<'a> {
    id: u64,
    #[serde(flatten)]
    ask: &'a Ask,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

/// Writes one question, with its tensors behind it.
///
/// # Errors
/// When it cannot be written.
pub fn ask(out: &mut impl Write, id: u64, ask: &Ask, tensors: &[(String, Tensor)]) -> io::Result<()> {
    let (head, order) = safetensors::head(tensors);
    let data = || order.iter().map(|&at| tensors[at].1.data());
    let bytes = (!tensors.is_empty()).then(|| head.len() + data().map(|data| data.len()).sum::<usize>());
    let mut line = serde_json::to_vec(&Request { id, ask, bytes }).map_err(io::Error::other)?;
    line.push(b'\n');
    if bytes.is_some() {
        line.extend(head);
    }
    out.write_all(&line)?;
    if bytes.is_some() {
        data().try_for_each(|data| out.write_all(data))?;
    }
    out.flush()
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub id: u64,
    /// Why the plug-in refuses.
    pub error: Option<String>,
    /// What else the line says.
    pub fields: Map<String, Value>,
    /// What came behind the line.
    pub tensors: Vec<(String, Tensor)>,
}

/// Why bytes are no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the channel of answers is closed")]
    Closed,
    #[error("the answer {0:?} is no line of JSON with an id")]
    Rubbish(String),
    #[error("an answer is longer than {LONGEST_LINE} bytes")]
    Long,
    #[error("an answer promises {found} bytes of tensors where at most {most} may come")]
    Large { found: u64, most: u64 },
    #[error("{0}")]
    Tensors(String),
}

/// Reads answers from a stream.
pub struct Answers<R> {
    input: R,
    /// Read, and not yet used.
    ahead: Vec<u8>,
    /// So much of it holds no line's end.
    searched: usize,
}

impl<R: Read> Answers<R> {
    pub fn new(input: R) -> Answers<R> {
        Answers {
            input,
            ahead: Vec::new(),
            searched: 0,
        }
    }

    /// The stream itself.
    pub fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// Waits for the next answer, with at most `most` bytes of tensors behind it.
    ///
    /// # Errors
    /// When what comes is no answer, or nothing comes.
    pub fn next(&mut self, most: u64) -> Result<Answer, WireError> {
        let line = self.line()?;
        let rubbish = || {
            let shown = &line[..line.len().min(SHOWN)];
            WireError::Rubbish(String::from_utf8_lossy(shown).trim_end().to_owned())
        };
        let mut fields: Map<String, Value> = serde_json::from_slice(&line).map_err(|_| rubbish())?;
        let id = fields.remove("id").and_then(|id| id.as_u64()).ok_or_else(rubbish)?;
        let error = match fields.remove("error") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        let tensors = match fields.remove("bytes") {
            None => Vec::new(),
            Some(found) => {
                let found = found.as_u64().ok_or_else(rubbish)?;
                if found > most {
                    return Err(WireError::Large { found, most });
                }
                let bytes = Bytes::from(self.exactly(found)?);
                safetensors::read(&bytes, "the answer").map_err(|error| WireError::Tensors(error.to_string()))?
            }
        };
        Ok(Answer {
            id,
            error,
            fields,
            tensors,
        })
    }

    fn line(&mut self) -> Result<Vec<u8>, WireError> {
        loop {
            if let Some(end) = self.ahead[self.searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.ahead.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            self.searched = self.ahead.len();
            if self.searched > LONGEST_LINE {
                return Err(WireError::Long);
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, count: u64) -> Result<Vec<u8>, WireError> {
        // It is at most `most`, which the caller means to hold; memory grows with what comes all the same.
        let count = usize::try_from(count).map_err(|_| WireError::Long)?;
        while self.ahead.len() < count {
            self.more()?;
        }
        let rest = self.ahead.split_off(count);
        self.searched = 0;
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn more(&mut self) -> Result<(), WireError> {
        let mut chunk = [0; 64 << 10];
        loop {
            match self.input.read(&mut chunk) {
                Ok(0) => return Err(WireError::Closed),
                Ok(count) => {
                    self.ahead.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A number as plug-ins write it: JSON's own, a truth value, or what JSON lacks as `"nan"`, `"inf"` and `"-inf"`; null
/// is NaN.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(*truth)),
        Value::Null => Some(f64::NAN),
        Value::String(text) => match text.as_str() {
            "nan" => Some(f64::NAN),
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], most: u64) -> Result<Vec<Answer>, WireError> {
        let mut answers = Answers::new(bytes);
        let mut found = Vec::new();
        loop {
            match answers.next(most) {
                Ok(answer) => found.push(answer),
                Err(WireError::Closed) if answers.ahead.is_empty() => return Ok(found),
                Err(error) => return Err(error),
            }
        }
    }

    #[test]
    fn a_question_is_a_line_and_its_tensors() {
        let mut out = Vec::new();
        let values = Ask::Values {
            cell: "conv1 at sparsity 0.5".into(),
            first: 64,
            samples: 1,
        };
        let tensors = [("outputs".to_owned(), Tensor::from_f32([1, 2], &[1.0, 2.0]))];
        ask(&mut out, 7, &values, &tensors).unwrap();
        let end = out.iter().position(|&byte| byte == b'\n').unwrap();
        let line: Value = serde_json::from_slice(&out[..end]).unwrap();
        let rest = &out[end + 1..];
        assert_eq!(
            line,
            serde_json::json!({
                "id": 7, "ask": "values", "cell": "conv1 at sparsity 0.5", "first": 64, "samples": 1, "bytes": rest.len()
            })
        );
        assert_eq!(
            safetensors::read(&Bytes::copy_from_slice(rest), "rest").unwrap(),
            tensors
        );

        let mut out = Vec::new();
        ask(&mut out, 0, &Ask::Bye {}, &[]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"id\":0,\"ask\":\"bye\"}\n");
    }

    #[test]
    fn answers_come_one_by_one() {
        let file = safetensors::write(&[("x".to_owned(), Tensor::from_i64([1], &[5]))]);
        let mut bytes = format!("{{\"id\":1,\"values\":[1]}}\n{{\"id\":2,\"bytes\":{}}}\n", file.len()).into_bytes();
        bytes.extend(&file);
        bytes.extend(b"{\"id\":3,\"error\":\"no\"}\n");
        let answers = read(&bytes, 1 << 20).unwrap();
        assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(answers[1].tensors[0].1.to_i64(), [5]);
        assert_eq!(answers[2].error.as_deref(), Some("no"));
        for (bytes, expected) in [
            (&b"hello\n"[..], "the answer \"hello\" is no line of JSON with an id"),
            (b"{}\n", "the answer \"{}\" is no line of JSON with an id"),
            (b"[1]\n", "the answer \"[1]\" is no line of JSON with an id"),
            (b"{\"id\": 1", "the channel of answers is closed"),
            (
                b"{\"id\": 1, \"bytes\": 99}\n",
                "an answer promises 99 bytes of tensors where at most 8 may come",
            ),
            (
                b"{\"id\": 1, \"bytes\": 4}\nabcd",
                "the answer: not a safetensors file: it is shorter than 8 bytes",
            ),
        ] {
            assert_eq!(read(bytes, 8).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn numbers_beyond_json_are_words() {
        let number = |text: &str| number(&serde_json::from_str(text).unwrap());
        assert_eq!(number("0.1"), Some(0.1));
        assert_eq!(number("true"), Some(1.0));
        assert_eq!(number("\"-inf\""), Some(f64::NEG_INFINITY));
        assert!(number("null").unwrap().is_nan() && number("\"nan\"").unwrap().is_nan());
        assert_eq!(number("\"1\""), None);
        assert_eq!(number("[1]"), None);
    }

    /// The checked-in corpus of the fuzzer, whole and cut at every byte.
    #[test]
    fn the_corpus_is_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/answers");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(files.len() >= 6);
        for file in files {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=bytes.len() {
                super::super::fuzz(&bytes[..end]);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            super::super::fuzz(&bytes);
        }

        #[test]
        fn nor_do_lines_that_are_nearly_right(
            line in r#"\{("id"|"bytes"|"values"|"error"|,|:|[0-9\-.e]{1,5}|null|\[|\]|"|\}){0,12}\}\n.{0,20}"#,
        ) {
            super::super::fuzz(line.as_bytes());
        }
    }
}
