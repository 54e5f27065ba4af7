//! Wheels: their RECORD, and unpacking chosen files of one with every hash verified.
//!
//! Does not know which files are wanted, nor where wheels come from.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use zip::ZipArchive;

/// What a RECORD says of one file: its SHA-256 in URL-safe base64 without padding, and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub sha256: String,
    pub size: u64,
}

/// Reads a RECORD. Files without a hash (RECORD itself, signatures) are left out.
pub fn parse_record(text: &str) -> Result<BTreeMap<String, Recorded>> {
    let mut files = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields = csv_fields(line);
        let [path, hash, size] = fields.as_slice() else {
            bail!("RECORD line {} has {} fields instead of 3", index + 1, fields.len());
        };
        if hash.is_empty() {
            continue;
        }
        let sha256 = hash
            .strip_prefix("sha256=")
            .with_context(|| format!("RECORD gives {path} no sha256"))?;
        let size = size.parse().with_context(|| format!("RECORD gives {path} no size"))?;
        files.insert(
            path.clone(),
            Recorded {
                sha256: sha256.to_string(),
                size,
            },
        );
    }
    Ok(files)
}

/// One line of CSV: a quoted field may hold commas, and doubled quotes.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    fields
}

/// A wheel whose RECORD has been read.
pub struct Wheel {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    record: BTreeMap<String, Recorded>,
}

impl Wheel {
    pub fn open(path: &Path) -> Result<Wheel> {
        let open = || -> Result<_> {
            let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
            let name = archive
                .file_names()
                .filter_map(|name| name.ok().map(|name| name.into_owned()))
                .find(|name| name.ends_with(".dist-info/RECORD") && name.matches('/').count() == 1)
                .context("it has no RECORD")?;
            let mut text = String::new();
            archive.by_name(&name)?.read_to_string(&mut text)?;
            Ok((archive, parse_record(&text)?))
        };
        let (archive, record) = open().with_context(|| format!("{} is no whole wheel", path.display()))?;
        Ok(Wheel {
            path: path.to_path_buf(),
            archive,
            record,
        })
    }

    /// Writes each recorded file that `place` gives a place below `folder`, each verified, and returns the places.
    pub fn unpack(&mut self, folder: &Path, place: impl Fn(&str) -> Option<PathBuf>) -> Result<Vec<PathBuf>> {
        let wanted: Vec<(String, PathBuf)> = self
            .record
            .keys()
            .filter_map(|name| Some((name.clone(), place(name)?)))
            .collect();
        for (name, place) in &wanted {
            if !place
                .components()
                .all(|component| matches!(component, Component::Normal(_)))
            {
                bail!("{} would write outside its folder: {name}", self.path.display());
            }
            let path = folder.join(place);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
            }
            let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            self.copy(name, &mut file)?;
        }
        Ok(wanted.into_iter().map(|(_, place)| place).collect())
    }

    /// Copies one file out of the wheel and holds it against RECORD.
    fn copy(&mut self, name: &str, into: &mut dyn Write) -> Result<()> {
        let wheel = self.path.display().to_string();
        let recorded = self
            .record
            .get(name)
            .with_context(|| format!("{name} is not in the RECORD of {wheel}"))?;
        let mut entry = self
            .archive
            .by_name(name)
            .with_context(|| format!("{name} is missing in {wheel}"))?;
        let (sha256, size) =
            copy_hashed(&mut entry, into).with_context(|| format!("cannot unpack {name} of {wheel}"))?;
        if (&sha256, size) != (&recorded.sha256, recorded.size) {
            bail!("{name} in {wheel} is not what its RECORD says: the wheel is damaged");
        }
        Ok(())
    }
}

fn copy_hashed(from: &mut dyn Read, into: &mut dyn Write) -> std::io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok((base64(&hasher.finalize()), size));
        }
        hasher.update(&buffer[..count]);
        into.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

/// URL-safe base64 without padding, as RECORD writes hashes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0u32, |word, (index, byte)| word | u32::from(*byte) << (16 - 8 * index));
        for digit in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::{Recorded, Wheel, base64, parse_record};
    use sha2::{Digest, Sha256};
    use std::fs;
    use std::io::{Cursor, Write};
    use std::path::{Path, PathBuf};
    use zip::write::SimpleFileOptions;

    /// A tiny wheel: RECORD is made of `recorded`, the archive of `stored`.
    pub fn write_wheel(path: &Path, recorded: &[(&str, &[u8])], stored: &[(&str, &[u8])]) {
        let lines = recorded
            .iter()
            .map(|(name, bytes)| format!("\"{name}\",sha256={},{}\n", base64(&Sha256::digest(bytes)), bytes.len()));
        let record = lines
            .chain(["tiny-1.dist-info/RECORD,,\n".to_string()])
            .collect::<String>();
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in stored.iter().chain([&("tiny-1.dist-info/RECORD", record.as_bytes())]) {
            zip.start_file(*name, SimpleFileOptions::default()).expect("an entry");
            zip.write_all(bytes).expect("its bytes");
        }
        fs::write(path, zip.finish().expect("an archive").into_inner()).expect("a file");
    }

    fn lib(name: &str) -> Option<PathBuf> {
        name.strip_prefix("tiny/").map(PathBuf::from)
    }

    #[test]
    fn base64_of_a_known_hash() {
        assert_eq!(
            base64(&Sha256::digest(b"")),
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
        );
        assert_eq!([base64(b"M"), base64(b"Ma"), base64(b"Man")], ["TQ", "TWE", "TWFu"]);
    }

    #[test]
    fn record_lines() {
        let text = "a/b.so,sha256=abc,12\r\n\"odd, \"\"name\"\"\",sha256=d,0\nx.dist-info/RECORD,,\n";
        let files = parse_record(text).expect("a RECORD");
        assert_eq!(files.len(), 2);
        assert_eq!(
            files["a/b.so"],
            Recorded {
                sha256: "abc".into(),
                size: 12
            }
        );
        assert!(files.contains_key("odd, \"name\""));
        for bad in ["a,sha256=x", "a,md5=x,1", "a,sha256=x,many"] {
            assert!(parse_record(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unpacks_what_is_wanted_and_true() {
        let room = tempfile::tempdir().expect("a folder");
        let path = room.path().join("tiny.whl");
        let files: &[(&str, &[u8])] = &[("tiny/lib/a.so", b"library"), ("other/b.py", b"python")];
        write_wheel(&path, files, files);
        let mut wheel = Wheel::open(&path).expect("a wheel");
        assert_eq!(
            wheel.unpack(&room.path().join("out"), lib).expect("unpacked"),
            [PathBuf::from("lib/a.so")]
        );
        assert_eq!(fs::read(room.path().join("out/lib/a.so")).expect("a file"), b"library");
        assert_eq!(fs::read_dir(room.path().join("out")).expect("read").count(), 1);
    }

    #[test]
    fn refuses_what_is_not_true() {
        type Files<'a> = &'a [(&'a str, &'a [u8])];
        let rows: &[(Files, Files, &str)] = &[
            (&[("tiny/a", b"one")], &[("tiny/a", b"two")], "damaged"),
            (&[("tiny/a", b"one")], &[("tiny/a", b"ones")], "damaged"),
            (&[("tiny/a", b"one")], &[], "missing"),
            (&[("tiny/../../a", b"one")], &[("tiny/../../a", b"one")], "outside"),
        ];
        for (recorded, stored, word) in rows {
            let room = tempfile::tempdir().expect("a folder");
            let path = room.path().join("tiny.whl");
            write_wheel(&path, recorded, stored);
            let mut wheel = Wheel::open(&path).expect("a wheel");
            let error = wheel.unpack(&room.path().join("out"), lib).expect_err("refused");
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }

    #[test]
    fn refuses_half_a_wheel() {
        let room = tempfile::tempdir().expect("a folder");
        let path = room.path().join("tiny.whl");
        write_wheel(&path, &[("tiny/a", b"one")], &[("tiny/a", b"one")]);
        let bytes = fs::read(&path).expect("bytes");
        for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).expect("a shorter file");
            assert!(Wheel::open(&path).is_err(), "{length} bytes");
        }
    }
}
