//! The broken files: a small model and small masks, each changed in one place.

use super::{Reader, Reader::Masks, Reader::Model};
use secateur::formats::zip::write;

const CODE: &str = "class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    return torch.relu(x)
";
const MODULE: &[u8] = b"\x80\x02c__torch__\nM\n)\x81}(X\x08\x00\x00\x00training\x89ub.";

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<(String, Vec<u8>)> = entries
        .iter()
        .map(|(name, data)| (name.to_string(), data.to_vec()))
        .collect();
    write("archive", &entries).expect("the entries have different names")
}

fn model(module: &[u8], code: &str) -> Vec<u8> {
    archive(&[
        ("data.pkl", module),
        ("code/__torch__.py", code.as_bytes()),
        ("constants.pkl", b"\x80\x02)."),
        ("version", b"3\n"),
        ("byteorder", b"little"),
    ])
}

pub fn good() -> Vec<u8> {
    model(MODULE, CODE)
}

/// The model with another body of `forward`.
fn body(text: &str) -> Vec<u8> {
    model(MODULE, &CODE.replace("return torch.relu(x)", text))
}

/// Masks of one layer: `tensor` is the pickled weight mask, over a storage of four float32.
pub fn masks(tensor: &str) -> Vec<u8> {
    let pickle = format!("\u{2}}}(X\u{4}\0\0\0convX_}}(X\u{6}\0\0\0weight{tensor}uu.").replace("X_", "");
    archive(&[
        ("data.pkl", &[&[0x80], pickle.as_bytes()].concat()),
        ("byteorder", b"little"),
        ("data/0", &[0; 16]),
        ("version", b"3\n"),
    ])
}

/// A pickled tensor over storage 0; offset, sizes and strides are pickled numbers.
pub fn tensor(storage: &str, sizes: &str, strides: &str) -> String {
    format!(
        "ctorch._utils\n_rebuild_tensor_v2\n((X\u{7}\0\0\0storagectorch\n{storage}\nX\u{1}\0\0\00X\u{3}\0\0\0cpuK\u{4}tQ\
         K\0({sizes}t({strides}tNccollections\nOrderedDict\n)RtR"
    )
}

/// Replaces every occurrence of `from`, which there must be, by as many bytes.
fn patch(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!places.is_empty() && from.len() == to.len(), "the patch does not apply");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Changes the directory's record of the entry `name`: `field` is the offset in the record.
fn patch_record(mut bytes: Vec<u8>, name: &str, field: usize, to: &[u8]) -> Vec<u8> {
    let records = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02"));
    let record = records
        .into_iter()
        .find(|&at| bytes[at + 46..].starts_with(name.as_bytes()));
    let at = record.expect("the entry is in the directory") + field;
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn patch_end(mut bytes: Vec<u8>, field: usize, to: &[u8]) -> Vec<u8> {
    let end = bytes.len() - 22 + field;
    bytes[end..end + to.len()].copy_from_slice(to);
    bytes
}

fn deflated(name: &str, data: impl std::io::Read) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_level(Some(1));
    for (name, mut data) in [
        ("archive/constants.pkl", &b"\x80\x02)."[..]),
        ("archive/data.pkl", MODULE),
        ("archive/version", b"3\n"),
    ] {
        writer.start_file(name, options).expect("a new entry");
        std::io::copy(&mut data, &mut writer).expect("memory suffices");
    }
    writer.start_file(name, options).expect("a new entry");
    let mut data = data;
    std::io::copy(&mut data, &mut writer).expect("memory suffices");
    writer.finish().expect("memory suffices").into_inner()
}

/// A zip64 archive of one claimed entry count.
fn zip64(entries: u64) -> Vec<u8> {
    let mut bytes = good();
    let end = bytes.len() - 22;
    let tail = bytes.split_off(end);
    let directory = u32::from_le_bytes([tail[16], tail[17], tail[18], tail[19]]);
    let place = bytes.len() as u64;
    bytes.extend_from_slice(b"PK\x06\x06");
    bytes.extend_from_slice(&44u64.to_le_bytes());
    bytes.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [entries, entries, u64::MAX / 2, u64::from(directory)] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    bytes.extend_from_slice(&place.to_le_bytes());
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    bytes
}

fn legacy(object: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    [&magic[..], b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.", object].concat()
}

/// Name, reader, file, and what the error must say.
pub fn cases() -> Vec<(&'static str, Reader, Vec<u8>, &'static str)> {
    let cut = |bytes: Vec<u8>, length: usize| bytes[..length].to_vec();
    let whole = good().len();
    let huge = [0xfe, 0xff, 0xff, 0xff];
    let system = b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch PWNED!\x85R.";
    let nested = [
        b"\x80\x02".to_vec(),
        b"]".repeat(300_000),
        b"a".repeat(299_999),
        b".".to_vec(),
    ]
    .concat();
    let laughs = [b"\x80\x02)".to_vec(), b"q\x00h\x00h\x00\x87".repeat(100), b".".to_vec()].concat();
    let itself = b"\x80\x02c__torch__\nM\n)\x81q\x00}(X\x08\x00\x00\x00training\x89X\x05\x00\x00\x00childh\x00ub.";
    let torch = |storage, sizes, strides| masks(&tensor(storage, sizes, strides));
    vec![
        ("empty", Model, vec![], "the file is empty"),
        (
            "wrong magic",
            Model,
            patch(good(), b"PK\x03\x04", b"QK\x03\x04"),
            "no model file that is known",
        ),
        ("half", Model, cut(good(), whole / 2), "not a zip archive, or cut short"),
        (
            "one byte short",
            Model,
            cut(good(), whole - 1),
            "not a zip archive, or cut short",
        ),
        (
            "no directory",
            Model,
            cut(good(), 70),
            "not a zip archive, or cut short",
        ),
        (
            "size beyond the file",
            Model,
            patch_record(good(), "archive/data.pkl", 20, &huge),
            "ends outside the file",
        ),
        (
            "two sizes",
            Model,
            patch_record(good(), "archive/data.pkl", 24, &huge),
            "is stored, but has sizes",
        ),
        (
            "count of entries",
            Model,
            patch_end(good(), 8, &[0xff; 4]),
            "zip archive",
        ),
        (
            "directory beyond the file",
            Model,
            patch_end(good(), 16, &huge),
            "zip archive",
        ),
        ("zip64 with 2^60 entries", Model, zip64(1 << 60), "zip archive"),
        (
            "overlap",
            Model,
            patch_record(good(), "archive/version", 42, &[0; 4]),
            "zip archive",
        ),
        (
            "name with ..",
            Model,
            patch(good(), b"archive/version", b"archive/../etc/"),
            "leaves the archive",
        ),
        (
            "absolute name",
            Model,
            patch(good(), b"archive/version", b"/etc/cron.d/job"),
            "leaves the archive",
        ),
        (
            "name outside the root",
            Model,
            patch(good(), b"archive/version", b"brchive/version"),
            "outside the folder",
        ),
        (
            "encrypted",
            Model,
            patch_record(good(), "archive/data.pkl", 8, &[1, 8]),
            "is encrypted",
        ),
        (
            "bzip2",
            Model,
            patch_record(good(), "archive/data.pkl", 10, &[12, 0]),
            "only stored and deflated",
        ),
        (
            "damaged",
            Model,
            patch(good(), b"torch.relu", b"torch.rilu"),
            "is damaged: CRC",
        ),
        (
            "inflates to more than it says",
            Model,
            patch_record(
                deflated("archive/code/__torch__.py", &b"x".repeat(5000)[..]),
                "archive/code/__torch__.py",
                24,
                &[9, 0, 0, 0],
            ),
            "does not inflate to the 9 bytes",
        ),
        (
            "zip bomb",
            Model,
            deflated(
                "archive/code/__torch__.py",
                std::io::Read::take(std::io::repeat(b' '), 160 << 20),
            ),
            "above the limit",
        ),
        (
            "pickle: os.system",
            Model,
            model(system, CODE),
            "the name os.system is not allowed",
        ),
        (
            "pickle: builtins.eval",
            Model,
            model(b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.", CODE),
            "builtins.eval",
        ),
        (
            "pickle: torch.load",
            Model,
            model(b"\x80\x02ctorch\nload\nX\x01\0\0\x00x\x85R.", CODE),
            "torch.load",
        ),
        (
            "pickle: INST",
            Model,
            model(b"\x80\x02(ios\nsystem\n.", CODE),
            "opcode INST",
        ),
        (
            "pickle: protocol 4",
            Model,
            model(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", CODE),
            "protocol 4",
        ),
        (
            "pickle: STACK_GLOBAL",
            Model,
            model(b"\x80\x02U\x02osU\x06system\x93.", CODE),
            "STACK_GLOBAL",
        ),
        (
            "pickle: nested deeply",
            Model,
            model(&nested, CODE),
            "the depth above the limit",
        ),
        (
            "pickle: memo bomb",
            Model,
            model(&laughs, CODE),
            "shared ones counted again",
        ),
        (
            "pickle: memo key",
            Model,
            model(b"\x80\x02Nr\xff\xff\xff\xff.", CODE),
            "the memo above the limit",
        ),
        (
            "pickle: a module in itself",
            Model,
            model(itself, CODE),
            "contains itself",
        ),
        (
            "pickle: string of 4 GiB",
            Model,
            model(b"\x80\x02X\xff\xff\xff\xffabc.", CODE),
            "a string missing",
        ),
        ("pickle: cut short", Model, model(&MODULE[..20], CODE), "cut short"),
        ("pickle: no module", Model, model(b"\x80\x02K\x01.", CODE), "data.pkl"),
        (
            "no code",
            Model,
            archive(&[
                ("data.pkl", MODULE),
                ("constants.pkl", b"\x80\x02)."),
                ("version", b"3\n"),
            ]),
            "__torch__",
        ),
        (
            "code: torch.from_file",
            Model,
            body("return torch.from_file(\"/etc/passwd\", False, 8)"),
            "from_file",
        ),
        (
            "code: torch.save",
            Model,
            body("_0 = torch.save(x, \"PWNED\")\n    return x"),
            "save",
        ),
        ("code: a library", Model, body("return ops.evil.run(x)"), "evil"),
        ("code: RPC", Model, body("return ops.rpc.rpc_async(\"w\", x)"), "rpc"),
        ("code: recursion", Model, body("return (self).forward(x, )"), "forward"),
        (
            "code: an endless loop",
            Model,
            body("while True:\n      x = torch.relu(x)\n    return x"),
            "__torch__.py",
        ),
        (
            "code: nested deeply",
            Model,
            body(&format!(
                "return {}x{}",
                "torch.relu(".repeat(50_000),
                ")".repeat(50_000)
            )),
            "__torch__.py",
        ),
        ("code: not Python", Model, body("\u{0}\u{1}\u{2}"), "__torch__.py"),
        (
            "masks: os.system",
            Masks,
            archive(&[("data.pkl", system)]),
            "the name os.system is not allowed",
        ),
        ("masks: a model", Masks, good(), "TorchScript"),
        (
            "masks: no storage",
            Masks,
            patch(torch("FloatStorage", "K\x04", "K\x01"), b"data/0", b"data/1"),
            "data/0",
        ),
        (
            "masks: outside the storage",
            Masks,
            torch("FloatStorage", "K\x05", "K\x01"),
            "outside",
        ),
        (
            "masks: expanded to 2^48",
            Masks,
            torch("FloatStorage", "J\0\0\0\x01J\0\0\0\x01", "K\0K\0"),
            "exceed",
        ),
        (
            "model: a tensor expanded to 2^28 bytes",
            Model,
            archive(&[
                (
                    "data.pkl",
                    &[
                        b"\x80\x02c__torch__\nM\nq\x00)\x81}X\x01\0\0\0w",
                        tensor("FloatStorage", "J\0\0\0\u{4}", "K\0").as_bytes(),
                        b"sb.",
                    ]
                    .concat(),
                ),
                ("code/__torch__.py", CODE.as_bytes()),
                ("constants.pkl", b"\x80\x02)."),
                ("data/0", &[0; 16]),
                ("version", b"3\n"),
            ]),
            "data.pkl: \"w\": with this tensor, those that do not lie as their shapes say",
        ),
        (
            "masks: elements announced",
            Masks,
            torch("DoubleStorage", "K\x04", "K\x01"),
            "4 elements are announced",
        ),
        (
            "masks: storage type",
            Masks,
            torch("QUInt8Storage", "K\x04", "K\x01"),
            "QUInt8Storage",
        ),
        (
            "masks: no dict",
            Masks,
            archive(&[("data.pkl", b"\x80\x02].")]),
            "holds a dict of layers",
        ),
        (
            "legacy masks: os.system",
            Masks,
            legacy(system),
            "the name os.system is not allowed",
        ),
        ("legacy masks: cut short", Masks, legacy(b"\x80\x02}"), "cut short"),
        (
            "legacy masks: magic only",
            Masks,
            legacy(b"")[..15].to_vec(),
            "protocol",
        ),
        (
            "legacy masks: unknown storage",
            Masks,
            legacy(b"\x80\x02}.\x80\x02]X\x01\0\0\x00a\x61."),
            "no tensor uses it",
        ),
        (
            "safetensors: header size",
            Masks,
            [&[0xff; 8][..], b"{}"].concat(),
            "the header claims",
        ),
        (
            "safetensors: nested",
            Masks,
            [&[0, 16, 0, 0, 0, 0, 0, 0][..], &b"{\"a\":[".repeat(700)].concat(),
            "not JSON",
        ),
    ]
}
