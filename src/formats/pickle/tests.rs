//! Pickles byte by byte: what is read, and what is refused with which words.

use super::*;

fn read(bytes: &[u8]) -> Result<Document, PickleError> {
    load(bytes, &|module, _| module != "os", &Limits::default())
}

/// A short text of an object.
fn show(document: &Document, id: Id) -> String {
    let all = |ids: &[Id]| ids.iter().map(|&id| show(document, id)).collect::<Vec<_>>().join(", ");
    let pairs = |items: &[(Id, Id)]| {
        let pair = |&(key, value): &(Id, Id)| format!("{}: {}", show(document, key), show(document, value));
        items.iter().map(pair).collect::<Vec<_>>().join(", ")
    };
    match &document[id] {
        Object::None => "None".into(),
        Object::Bool(value) => value.to_string(),
        Object::Int(value) => value.to_string(),
        Object::Long(digits) => format!("{digits:?}"),
        Object::Float(value) => format!("{value:?}"),
        Object::Str(text) => format!("{text:?}"),
        Object::Tuple(elements) => format!("({})", all(elements)),
        Object::List(elements) => format!("[{}]", all(elements)),
        Object::Dict(items) => format!("{{{}}}", pairs(items)),
        Object::Global(global) => format!("{}.{}", global.module, global.name),
        Object::Reduce(call) => {
            let state = call
                .state
                .map_or(String::new(), |state| format!("!{}", show(document, state)));
            let (callable, args) = (show(document, call.callable), show(document, call.args));
            format!("{callable}{args}{{{}}}{state}", pairs(&call.items))
        }
        Object::Instance(object) => {
            let state = object.state.map_or("-".into(), |state| show(document, state));
            format!("<{} {state}>", show(document, object.class))
        }
        Object::Persistent(reference) => format!("@{}", show(document, *reference)),
    }
}

#[test]
fn opcodes() {
    let cases: &[(&[u8], &str)] = &[
        (b"\x80\x02N.", "None"),
        (b"\x80\x02\x88.", "true"),
        (b"\x80\x02J\xff\xff\xff\xff.", "-1"),
        (b"\x80\x02M\xff\xff.", "65535"),
        (b"\x80\x02\x8a\x01\xff.", "-1"),
        (b"\x80\x02\x8a\x00.", "0"),
        (b"\x80\x02\x8a\x05\x00\x00\x00\x00\x01.", "4294967296"),
        (b"\x80\x02G\x7f\xf0\x00\x00\x00\x00\x00\x00.", "inf"),
        (b"\x80\x02X\x02\x00\x00\x00hi.", "\"hi\""),
        (b"\x80\x02U\x02hi.", "\"hi\""),
        (b"\x80\x02(K\x01K\x02t.", "(1, 2)"),
        (b"\x80\x02K\x01K\x02K\x03\x87.", "(1, 2, 3)"),
        (b"\x80\x02](K\x01K\x02e.", "[1, 2]"),
        (b"\x80\x02]K\x01a.", "[1]"),
        (b"\x80\x02}(K\x01K\x02u.", "{1: 2}"),
        (b"\x80\x02}K\x01K\x02s.", "{1: 2}"),
        (b"\x80\x02]q\x00h\x00\x86.", "([], [])"),
        (b"\x80\x02ca.b\nC\n)\x81}b.", "<a.b.C {}>"),
        (
            b"\x80\x02ccollections\nOrderedDict\n)RK\x01K\x02s}b.",
            "collections.OrderedDict(){1: 2}!{}",
        ),
        (b"\x80\x02c__torch__.F\nF\nX\x01\x00\x00\x00aR.", "__torch__.F.F\"a\"{}"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "@\"a\""),
        (b"\x80\x02K\x01K\x020.", "1"),
    ];
    for (bytes, wanted) in cases {
        let document = read(bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        assert_eq!(show(&document, document.root()), *wanted);
    }
}

#[test]
fn identity_is_kept() {
    let document = read(b"\x80\x02]q\x00h\x00]\x87.").unwrap();
    let parts = document.tuple(document.root()).unwrap();
    assert_eq!(parts[0], parts[1]);
    assert_ne!(parts[0], parts[2]);
}

#[test]
fn refusals() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "cut short at byte 0: an opcode missing"),
        (b"\x80\x02", "cut short at byte 2"),
        (b"\x80\x04N.", "protocol 4, but only 2"),
        (
            b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
            "byte 2: the name os.system is not allowed",
        ),
        (b"\x80\x02cos\nsystem", "cut short at byte 6: the end of a name missing"),
        (b"\x80\x02\x8c\x02os.", "SHORT_BINUNICODE (0x8c)"),
        (b"\x80\x02\x93.", "STACK_GLOBAL"),
        (b"\x80\x02\xff.", "opcode 0xff"),
        (b"\x80\x02X\xff\xff\xff\xffabc.", "a string missing"),
        (b"\x80\x02\x8a\xff1.", "an int missing"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"\x80\x02h\x00.", "no such key"),
        (b"\x80\x02t.", "no mark"),
        (b"\x80\x02K\x01\x86.", "stack is empty"),
        (b"\x80\x02K\x01(\x85t.", "stack is empty"),
        (b"\x80\x02.", "stack is empty"),
        (b"\x80\x02NN.", "left over"),
        (b"\x80\x02(N.", "left over"),
        (b"\x80\x02N.N", "byte 4: bytes follow the end"),
        (b"\x80\x02K\x01)R.", "not a class or function"),
        (b"\x80\x02K\x01K\x01a.", "not a list"),
        (b"\x80\x02K\x01K\x01K\x01s.", "not a dict"),
        (b"\x80\x02}(K\x01u.", "no value"),
        (b"\x80\x02]}b.", "not an object"),
        (b"\x80\x02ca\nb\n)\x81}b}b.", "set twice"),
        (b"\x80\x02]q\x00h\x00a.", "contains itself"),
        (
            b"\x80\x02ca\nb\n)\x81q\x00}X\x01\x00\x00\x00xh\x00sb.",
            "contains itself",
        ),
        (b"\x80\x02]q\x00h\x00\x85a.", "contains itself"),
    ];
    for (bytes, wanted) in cases {
        let error = read(bytes).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}: {wanted}");
    }
}

#[test]
fn bombs() {
    let nested = [
        b"\x80\x02".to_vec(),
        b"]".repeat(1_000),
        b"a".repeat(999),
        b".".to_vec(),
    ]
    .concat();
    let tuples = [b"\x80\x02)".to_vec(), b"\x85".repeat(900_000), b".".to_vec()].concat();
    // Each level is a tuple of the level below, three times.
    let laughs = [b"\x80\x02)".to_vec(), b"q\x00h\x00h\x00\x87".repeat(60), b".".to_vec()].concat();
    let many = [b"\x80\x02(".to_vec(), b"N".repeat(1_500_000), b"t.".to_vec()].concat();
    let memo: Vec<u8> = (0..300_000u32)
        .flat_map(|key| [&b"r"[..], &key.to_le_bytes()[..]].concat())
        .collect();
    let memo = [b"\x80\x02N".to_vec(), memo, b".".to_vec()].concat();
    let cases = [
        (nested, "the depth"),
        (tuples, "the depth"),
        (laughs, "shared ones counted again"),
        (many, "number of opcodes"),
        (memo, "the memo"),
    ];
    for (bytes, wanted) in cases {
        let error = read(&bytes).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}: {wanted}");
    }
}
