//! Files written by torch and numpy (`tests/data/formats/make.py`) read as they were meant.

use super::torch_file::{self, Value};
use super::{Rows, idx, npy, npz, safetensors};
use crate::tensor::{DType, Tensor};
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/formats", name]
        .iter()
        .collect()
}

fn show(value: &Value) -> String {
    let all = |values: &[Value]| values.iter().map(show).collect::<Vec<_>>().join(", ");
    match value {
        Value::None => "None".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(text) => text.clone(),
        Value::Tensor(tensor) => format!("{}{:?}{:?}", tensor.dtype(), tensor.shape(), tensor.to_f64()),
        Value::List(values) => format!("[{}]", all(values)),
        Value::Tuple(values) => format!("({})", all(values)),
        Value::Dict(items) => {
            let item = |(key, value): &(Value, Value)| format!("{}: {}", show(key), show(value));
            format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn files_of_torch_save() {
    for name in ["zip.pth", "legacy.pth"] {
        let value = torch_file::read(std::fs::read(path(name)).unwrap().into()).unwrap();
        let check = |key: &str, wanted: &str| assert_eq!(show(value.get(key).unwrap()), wanted, "{name}");
        check("conv1", "{weight: float32[2, 2][1.0, 1.0, 0.0, 0.0], bias: None}");
        check("plain", "(1, -5, 1099511627776, 0.5, true, ümlaut, None, [1, 2])");
        check("parameter", "float32[2][1.0, 1.0]");
        check(
            "state",
            "{0.weight: float32[1, 2][0.25, 0.25], 0.bias: float32[1][-1.0]}",
        );
        let Some(Value::List(views)) = value.get("views") else {
            panic!("{name}");
        };
        let by_column: Vec<f64> = (0..24).map(|at| f64::from(at % 4 * 6 + at / 4)).collect();
        assert_eq!(show(&views[0]), format!("float32[6, 4]{by_column:?}"));
        assert_eq!(show(&views[1]), "float32[2, 3][6.0, 8.0, 10.0, 12.0, 14.0, 16.0]");
        assert_eq!(show(&views[2]), "float32[3][0.0, 0.0, 0.0]");
        assert_eq!(show(&views[3]), "int64[4][2.0, 3.0, 4.0, 5.0]");
        assert_eq!(show(&views[5]), "float32[0, 3][]");
        let Some(Value::Dict(dtypes)) = value.get("dtypes") else {
            panic!("{name}");
        };
        assert_eq!(dtypes.len(), if name == "zip.pth" { 13 } else { 10 });
        for (dtype, tensor) in dtypes {
            let two = if show(dtype) == "bool" { 1.0 } else { 2.0 };
            assert_eq!(show(tensor), format!("{}[3][1.0, 0.0, {two:?}]", show(dtype)));
        }
        let again = torch_file::read(torch_file::write(&value).unwrap().into()).unwrap();
        assert_eq!(again, value);
    }
}

#[test]
fn arrays_of_numpy() {
    let check = |mut rows: Rows, dtype: DType, shape: &[usize]| {
        assert_eq!((rows.dtype(), rows.shape()), (dtype, shape));
        let inner: usize = shape[1..].iter().product();
        for (start, end) in [(0, 2), (2, 6), (1, 3)] {
            let wanted: Vec<i64> = (start * inner..end * inner).map(|at| at as i64).collect();
            assert_eq!(rows.read_rows(start, end).unwrap().to_i64(), wanted, "{rows:?}");
        }
    };
    for name in ["stored.npz", "deflated.npz"] {
        assert_eq!(npz::names(&path(name)).unwrap(), ["x", "y", "f", "big", "half"]);
        check(npz::open(&path(name), "x").unwrap(), DType::F32, &[6, 2, 2]);
        check(npz::open(&path(name), "y").unwrap(), DType::I64, &[6]);
        check(npz::open(&path(name), "f").unwrap(), DType::F32, &[6, 2, 2]);
        check(npz::open(&path(name), "big").unwrap(), DType::F64, &[6, 2, 2]);
        check(npz::open(&path(name), "half").unwrap(), DType::F16, &[6, 2, 2]);
    }
    check(npy::open(&path("fortran.npy")).unwrap(), DType::F32, &[6, 2, 2]);
    check(idx::open(&path("images.idx.gz")).unwrap(), DType::U8, &[6, 2, 2]);
}

/// Reads bytes in every format there is; what comes of it does not matter.
fn read_as_anything(bytes: &[u8]) {
    let _ = torch_file::read(bytes.to_vec().into());
    let _ = safetensors::read(&bytes.to_vec().into(), "file");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut opened = vec![npy::open(file.path()), idx::open(file.path())];
    for name in npz::names(file.path()).unwrap_or_default() {
        opened.push(npz::open(file.path(), &name));
    }
    for (name, _) in safetensors::headers(file.path()).unwrap_or_default() {
        opened.push(safetensors::open(file.path(), &name));
    }
    for mut rows in opened.into_iter().flatten() {
        let end = rows.rows().min(3);
        let _ = rows.read_rows(end.saturating_sub(1), end);
        let _ = rows.read_rows(0, end);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    /// Damaged files are read or refused, and never panic or ask for memory that is not there.
    #[test]
    fn damaged_files_never_panic(
        which in 0..FILES.len(),
        changes in proptest::collection::vec((0.0..1.0, proptest::prelude::any::<u8>()), 1..4),
        cut in proptest::option::weighted(0.2, 0.0..1.0),
    ) {
        let mut bytes = match FILES[which] {
            "safetensors" => safetensors::write(&[
                ("a".into(), Tensor::from_f32([2, 2], &[1.0; 4])),
                ("b".into(), Tensor::from_i64([3], &[1; 3])),
            ]),
            name => std::fs::read(path(name)).unwrap(),
        };
        let length = bytes.len() as f64;
        for (at, byte) in changes {
            bytes[(at * length) as usize] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * length) as usize);
        }
        read_as_anything(&bytes);
    }
}

const FILES: [&str; 7] = [
    "zip.pth",
    "legacy.pth",
    "stored.npz",
    "deflated.npz",
    "fortran.npy",
    "images.idx.gz",
    "safetensors",
];

/// For comparison with torch itself: writes what was read where `FORMATS_OUT` says.
#[test]
#[ignore = "writes a file for torch.load to read"]
fn written_for_torch() {
    let Some(out) = std::env::var_os("FORMATS_OUT") else {
        return;
    };
    let value = torch_file::read(std::fs::read(path("zip.pth")).unwrap().into()).unwrap();
    std::fs::write(out, torch_file::write(&value).unwrap()).unwrap();
}
