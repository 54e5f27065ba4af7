//! Archives and code, read and refused.

mod folding;
mod given;
mod hostile;

use crate::formats::zip;
use crate::graph::{parse, print, verify};
use crate::readers::read_model;
use crate::tensor::Tensor;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript")
}

fn fixture(name: &str) -> Bytes {
    let path = folder().join(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}

/// Reads every archive of the folder `SECATEUR_ZOO`, says how each fares and how long it takes.
#[test]
#[ignore = "needs a folder of model files"]
fn zoo() {
    let folder = std::env::var("SECATEUR_ZOO").expect("SECATEUR_ZOO names a folder");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ext| ext == "pt"))
    {
        let bytes = Bytes::from(std::fs::read(&file).unwrap());
        let start = Instant::now();
        let found = read_model(bytes);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match found {
            Ok(graph) => {
                let (time, fault) = (start.elapsed(), verify(&graph).err());
                println!(
                    "ok {name} {} nodes {time:?} {fault:?} {}",
                    graph.nodes.len(),
                    graph.issues.len()
                );
                if let Ok(out) = std::env::var("SECATEUR_PRINT") {
                    std::fs::write(format!("{out}/{name}.txt"), print(&graph)).unwrap();
                }
            }
            Err(error) => println!("FAIL {name} {:?}: {error}", start.elapsed()),
        }
    }
}

/// The graph of each archive is the text beside it; `SECATEUR_BLESS=1` writes the text.
#[test]
fn archives_read_as_the_texts_beside_them() {
    for name in [
        "residual",
        "residual_script",
        "views",
        "names",
        "shapes",
        "standardised",
        "function",
        "nested",
        "script",
    ] {
        let graph = read_model(fixture(&format!("{name}.pt"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(verify(&graph), Ok(()), "{name}");
        let text = print(&graph);
        let path = folder().join(format!("{name}.txt"));
        if std::env::var_os("SECATEUR_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{name}");
        // Of large tensors only a digest stands in the text.
        let mut graph = graph;
        for tensor in graph
            .params
            .iter_mut()
            .map(|param| &mut param.tensor)
            .filter(|tensor| tensor.bytes() > 256)
        {
            let zeros = vec![0; tensor.bytes() as usize];
            *tensor = Tensor::new(tensor.dtype(), tensor.shape(), zeros).unwrap().into();
        }
        assert_eq!(parse(&text), Ok(graph), "{name}");
    }
}

#[test]
fn tied_tensors_are_one_parameter() {
    let graph = read_model(fixture("names.pt")).unwrap();
    let names: Vec<&[String]> = graph.params.iter().map(|param| &param.names[..]).collect();
    assert_eq!(names[1], ["embed.weight", "out.weight"]);
    assert!(graph.params[0].buffer && !graph.params[1].buffer);
    assert_eq!(graph.modules[6].path, "again");
    assert_eq!(graph.modules[7].path, "ünïcode");
}

#[test]
fn what_cannot_be_told_is_refused_with_place_and_fix() {
    for (name, expected) in [
        (
            "frozen.pt",
            "the archive is frozen: its weights are constants without names",
        ),
        ("training.pt", "(module 1): aten::batch_norm is in training mode"),
    ] {
        let message = read_model(fixture(name)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_part_that_was_frozen_is_told() {
    let graph = read_model(fixture("partly_frozen.pt")).unwrap();
    let params: Vec<&str> = graph.params.iter().map(|param| param.name()).collect();
    assert_eq!(params, ["head.weight", "head.bias"]);
    let issues: Vec<String> = graph
        .issues
        .iter()
        .map(|issue| format!("{}: {}", issue.op, issue.message))
        .collect();
    let [issue] = &issues[..] else { panic!("{issues:?}") };
    assert!(
        issue.starts_with("aten::conv2d: its weight is a constant without a name"),
        "{issue}"
    );
    assert!(
        issue.ends_with("save the model without torch.jit.freeze; 1 other layer is so too"),
        "{issue}"
    );
}

#[test]
fn what_is_not_read_is_called_by_its_name() {
    let code = module("return x");
    let data = b"\x80\x02c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\nq\x00)\x81}b.";
    let message = read_model(archive_of(&code, data)).unwrap_err().to_string();
    assert!(
        message.contains("the model is quantised") && message.contains("save the float model"),
        "{message}"
    );
    let message = outcome(&module("return torch.split(x, 2, 3, 4)"));
    assert!(message.contains("the nearest is aten::split("), "{message}");
    let message = outcome(&module("return torch.mul(x, \"a\")"));
    assert!(
        message.ends_with("the nearest is aten::mul(Tensor self, Tensor other)"),
        "{message}"
    );
}

#[test]
fn a_branch_on_data_takes_one_of_both() {
    let graph = read_model(fixture("branch.pt")).unwrap();
    assert_eq!(verify(&graph), Ok(()));
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.short()).collect();
    assert_eq!(ops, ["sum", "gt", "Bool", "neg", "If"]);
    // What no graph can hold is refused where it is read, by name.
    let advice = "save the model with torch.jit.trace(model.eval(), example) instead of torch.jit.script";
    let test = "if bool(torch.sum(x)):\n";
    for (body, expected) in [
        (
            "a = [x]\nIF  b = torch.append(a, x)\nelse:\n  pass\nreturn torch.cat(a)",
            "code/__torch__.py:8: a branch that only a run can tell leaves a list with 2 or with 1 elements",
        ),
        (
            "IF  a = x\nelse:\n  a = None\nreturn torch.add(x, a)",
            "code/__torch__.py:11: what is read here is a tensor or None, as the branch at code/__torch__.py:7 says only when \
             the model runs",
        ),
        (
            "a = [x]\nIF  b = [x]\nelse:\n  b = a\n_0 = torch.append(b, x)\nreturn x",
            "code/__torch__.py:12: what is read here is one of two, each a list, as the branch at code/__torch__.py:8 says only \
             when the model runs",
        ),
        (
            "a = {\"a\": x}\nIF  _0 = torch._set_item(a, \"b\", x)\nelse:\n  pass\nreturn x",
            "code/__torch__.py:8: a branch that only a run can tell changes a dict",
        ),
        (
            "a = torch.chunk(x, 2)\nIF  _0 = torch.append(a, x)\nelse:\n  pass\nreturn x",
            "code/__torch__.py:8: a branch that only a run can tell changes a list of parts of a tensor",
        ),
        (
            "IF  i = 1\n  b = [x]\nelse:\n  i = 0\n  b = [x, x]\na = [x]\n_0 = torch.extend(a, b)\nreturn torch.cat(a)",
            "code/__torch__.py:14: what is read here is one of two, each a list",
        ),
        (
            "IF  i = 1\nelse:\n  i = 0\na = [x, x]\n_0 = torch.pop(a, i)\nreturn torch.cat(a)",
            "code/__torch__.py:12: an element is taken off a list whose place only a run can tell",
        ),
    ] {
        let message = outcome(&module(&body.replace("IF", test)));
        assert!(message.contains(expected), "{body}: {message}");
        assert!(message.contains(advice) || body.contains("pop"), "{message}");
    }
    // Lists that the sides made are one of each two elements, under all their names.
    let body =
        "IF  a = [x]\n  b = a\nelse:\n  a = [torch.neg(x)]\n  b = a\n_0 = torch.append(b, x)\nreturn torch.cat(a)";
    let text = outcome(&module(&body.replace("IF", test)));
    let expected = "%neg: Tensor = aten::neg(self=%x)\n%a: Tensor = prim::If(condition=%Bool, then=%x, otherwise=%neg)\n%cat: \
                    Tensor = aten::cat(tensors=[%a, %x], dim=0)\noutput %cat";
    assert!(text.ends_with(expected), "{text}");
    // A tensor that may be another is not read after the other was written.
    let body = "a = torch.add(x, 1)\nif bool(torch.sum(x)):\n  b = a\nelse:\n  b = x\nc = torch.relu_(b)\nreturn torch.add(a, b)";
    let message = outcome(&module(body));
    assert!(message.contains("depending on a branch"), "{message}");
}

#[test]
fn other_files_are_named() {
    let zip = |names: &[&str]| -> Bytes {
        let entries: Vec<(String, Vec<u8>)> = names.iter().map(|name| ((*name).to_owned(), b"x".to_vec())).collect();
        zip::write("archive", &entries).unwrap().into()
    };
    for (bytes, expected) in [
        (Bytes::new(), "the file is empty"),
        (
            Bytes::from_static(b"\x80\x02}q\x00."),
            "a pickle (torch.save of an old version)",
        ),
        (
            Bytes::from_static(b"\x08\x07\x12\x07pytorch\x1a\x052.0.0"),
            "an ONNX file",
        ),
        (
            Bytes::from_static(b"\x10\0\0\0\0\0\0\0{\"a\":1}        "),
            "a safetensors file",
        ),
        (
            Bytes::from_static(b"hello, world, this is text"),
            "no model file that is known",
        ),
        (
            zip(&["data.pkl", "version"]),
            "a torch.save file (a state dict, or a pickled module)",
        ),
        (
            zip(&["models/model.json", "archive_format"]),
            "a torch.export program (.pt2)",
        ),
        (zip(&["hello"]), "no model that PyTorch saved"),
    ] {
        let message = read_model(bytes).unwrap_err().to_string();
        assert!(
            message.contains(expected) && (message.contains("torch.jit.trace") || message.contains("empty")),
            "{message}"
        );
    }
}

/// An archive of one module without attributes whose code is `code`.
fn archive(code: &str) -> Bytes {
    archive_of(
        code,
        b"\x80\x02c__torch__\nM\nq\x00)\x81}(X\x08\x00\x00\x00trainingq\x01\x89ubq\x02.",
    )
}

fn archive_of(code: &str, data: &[u8]) -> Bytes {
    let entries = [
        ("data.pkl", data),
        ("code/__torch__.py", code.as_bytes()),
        ("constants.pkl", b"\x80\x02)."),
        ("version", b"3\n"),
        ("byteorder", b"little"),
    ];
    let entries: Vec<(String, Vec<u8>)> = entries.map(|(name, data)| (name.to_owned(), data.to_vec())).into();
    zip::write("archive", &entries).unwrap().into()
}

/// The code of a module whose `forward` has that body.
fn module(body: &str) -> String {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n  def forward(self: __torch__.M,\n    \
         x: Tensor) -> Tensor:\n{body}"
    )
}

/// Reads code and gives the graph's nodes or the error.
fn outcome(code: &str) -> String {
    match read_model(archive(code)) {
        Ok(graph) => {
            assert_eq!(verify(&graph), Ok(()), "{code}");
            let text = print(&graph);
            let kept = text
                .lines()
                .filter(|line| line.starts_with('%') && !line.ends_with("input") || line.starts_with("output"));
            kept.map(|line| line.trim_end_matches(" in \"\""))
                .collect::<Vec<_>>()
                .join("\n")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn forbidden_code_is_refused_by_name() {
    for (body, expected) in [
        (
            "return torch.from_file(\"/etc/passwd\", True, 10)",
            "code/__torch__.py:7: operator aten::from_file is not among",
        ),
        (
            "_0 = torch.save(x, \"f\")\nreturn x",
            "operator aten::save is not among",
        ),
        ("print(x)\nreturn x", "operator prim::Print is refused"),
        (
            "_0 = ops.prim.rpc_sync(\"a\", x)\nreturn x",
            "operator prim::rpc_sync is refused",
        ),
        (
            "return ops.torchvision.nms(x, x, 0.5)",
            "operator torchvision::nms is not among",
        ),
        (
            "return ops.mkldnn._linear_pointwise(x, x, x, \"a\", [], \"\")",
            "operator mkldnn::_linear_pointwise is not among",
        ),
        ("return torch.randn([2])", "operator aten::randn is not among"),
        (
            "return torch.bernoulli_(x, 0.5)",
            "operator aten::bernoulli_ is not among",
        ),
        ("return os.system(\"ls\")", "the name \"os\" is not defined"),
        ("return __import__(\"os\")", "the function \"__import__\" is not among"),
        (
            "return torch.dropout(x, 0.5, True)",
            "aten::dropout is in training mode",
        ),
        (
            "return __torch__.os.system(x)",
            "the archive has no code for __torch__.os.system",
        ),
        ("import os\nreturn x", "\"import\" is not read here"),
    ] {
        let message = outcome(&module(body));
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn endless_code_is_refused() {
    let deep = |open: &str, close: &str, count: usize| format!("return {}x{}", open.repeat(count), close.repeat(count));
    let blocks: String = (0..150).map(|at| format!("{}if True:\n", "  ".repeat(at))).collect();
    let doubling = "a = [x]\n".to_owned() + &"a = torch.add(a, a)\n".repeat(60) + "return a[0]";
    let sharing = "a = (x, x)\n".to_owned() + &"a = (a, a)\n".repeat(60) + "return a";
    let text = "a = \"abc\"\n".to_owned() + &"a = torch.add(a, a)\n".repeat(60) + "return x";
    for (body, expected) in [
        (
            "return (self).forward(x, )".to_owned(),
            "calls are nested more than 200 deep: forward calls itself",
        ),
        (
            "while True:\n  y = torch.add(x, 1)\nreturn x".to_owned(),
            "more than 100000 operators",
        ),
        ("while True:\n  y = 1\nreturn x".to_owned(), "statements are run"),
        (
            "for i in range(1000000000000):\n  pass\nreturn x".to_owned(),
            "a loop runs more than",
        ),
        (
            "for i in range(400000):\n  x = torch.add(x, 1)\nreturn x".to_owned(),
            "more than 100000 operators",
        ),
        (deep("torch.relu(", ")", 100_000), "nested more than 100 deep"),
        (deep("[", "]", 100_000), "nested more than 100 deep"),
        (deep("(", ")", 100_000), "nested more than 100 deep"),
        (format!("return {}1", "-".repeat(100_000)), "nested more than 100 deep"),
        (format!("return x{}", ".a".repeat(100_000)), "a chain of more than 100"),
        (
            format!("{blocks}{}pass\nreturn x", "  ".repeat(150)),
            "nested more than 100 deep",
        ),
        (doubling, "lists and strings of more than"),
        (sharing, "containers are too large or nested too deep"),
        (text, "a string of more than"),
        (
            "a = [1]\n_0 = torch.append(a, a)\nreturn x".to_owned(),
            "a list is put into itself",
        ),
        (
            "return torch.zeros(torch.mul([1], 100000000))".to_owned(),
            "lists and strings of more than",
        ),
        (
            "a = [x]\nfor i in range(400000):\n  a = [a]\nreturn x".to_owned(),
            "containers are too large or nested too deep",
        ),
        ("return x[\"a".to_owned(), "a string does not end"),
    ] {
        let message = outcome(&module(&body));
        assert!(
            message.contains(expected),
            "{}: {}",
            &body[..body.len().min(100)],
            &message[..message.len().min(300)]
        );
    }
}

#[test]
fn a_list_within_itself_by_a_detour_does_not_hang() {
    let body = "a = annotate(List[List[int]], [])\nb = [a]\n_0 = torch.append(a, b)\n_1 = torch.eq(a, b)\nreturn torch.view(x, a)";
    let message = outcome(&module(body));
    assert!(message.contains("too large or nested too deep"), "{message}");
}

#[test]
fn malformed_pickles_are_refused() {
    let code = module("return x");
    for (data, expected) in [
        (
            &b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00lsq\x01\x85R."[..],
            "os.system is not allowed",
        ),
        (
            b"\x80\x02c__torch__\nMissing\nq\x00)\x81}b.",
            "the class __torch__.Missing of an object has no code",
        ),
        (b"\x80\x02]q\x00h\x00a.", "data.pkl"),
        (b"\x80\x02K\x01.", "data.pkl holds no module"),
        (b"\x80\x02c__torch__\nM\nq\x00)\x81}(X\x01\x00\x00\x00w", "cut short"),
        (b"", "cut short"),
    ] {
        let message = read_model(archive_of(&code, data)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn truncated_archives_are_refused() {
    let whole = fixture("residual.pt");
    for end in (0..whole.len()).step_by(whole.len() / 60) {
        assert!(read_model(whole.slice(..end)).is_err(), "{end}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
    /// Damaged code is read or refused, and never panics.
    #[test]
    fn damaged_code_never_panics(at in 0.0..1.0, byte: u8, cut: bool) {
        let code = module(include_str!("../../../tests/data/torchscript/damage.txt"));
        let mut bytes = code.into_bytes();
        let index = (at * bytes.len() as f64) as usize;
        if cut { bytes.truncate(index) } else { bytes[index] = byte }
        let _ = read_model(archive(&String::from_utf8_lossy(&bytes)));
    }

    /// Damaged archives are read or refused, and never panic.
    #[test]
    fn damaged_archives_never_panic(at in 0.0..1.0, byte: u8) {
        let mut bytes = fixture("views.pt").to_vec();
        let index = (at * bytes.len() as f64) as usize;
        bytes[index] = byte;
        let _ = read_model(bytes.into());
    }
}
