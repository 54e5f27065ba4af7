//! Small files that ask for much: each ends soon, with an error or a small graph.

use super::{archive, archive_of, module, outcome};
use crate::readers::read_model;
use std::time::{Duration, Instant};

/// What a file gives, which it does soon.
fn soon(body: &str) -> String {
    let start = Instant::now();
    let found = outcome(&module(body));
    let taken = start.elapsed();
    assert!(
        taken < Duration::from_secs(20),
        "{}: {taken:?}",
        &body[..body.len().min(200)]
    );
    found
}

#[test]
fn work_and_memory_are_counted() {
    let test = "if bool(torch.sum(x)):\n";
    let doubled = "  t = (t, t)\n".repeat(13);
    let names: String = (0..400).map(|at| format!("n{at} = (t, {at})\n")).collect();
    let lists: String = (0..2_000).map(|at| format!("l{at} = [x]\n")).collect();
    let pass = "  if bool(torch.sum(x)):\n    pass\n  else:\n    pass\n";
    for (body, expected) in [
        // Texts of lists.
        (
            format!(
                "a = \"{}\"\nl = torch.mul([a], 90000)\nb = torch.str(l)\nreturn torch.add(x, torch.len(b))",
                "x".repeat(9_000)
            ),
            "",
        ),
        (
            format!(
                "a = \"{}\"\nl = torch.mul([a], 90000)\nb = torch.format(\"{{}}\", l)\nreturn torch.add(x, torch.len(b))",
                "x".repeat(9_000)
            ),
            "",
        ),
        // A view that is taken again after each write hands its arguments on.
        (
            "l = torch.mul([1], 90000)\ny = torch.view(x, l)\nfor i in range(30000):\n  _0 = torch.relu_(x)\n  _1 = \
             torch.relu(y)\nreturn y"
                .to_owned(),
            "lists of more than 2000000 elements in all",
        ),
        // Tuples of tuples that a branch leaves.
        (
            format!("t = (x, x)\n{test}  t = (x, x)\n{doubled}else:\n  pass\nreturn x"),
            "",
        ),
        (
            format!("t = (x, x)\n{test}  t = (x, 1)\n{doubled}else:\n  t = (x, 2)\n{doubled}return x"),
            "",
        ),
        // Names that every branch looks at.
        (
            format!(
                "t = (x, x)\n{}{names}for i in range(100000):\n{pass}return x",
                doubled.replace("  ", "")
            ),
            "of more than 3000000 elements in all",
        ),
        (
            format!("{lists}for i in range(100000):\n{pass}return x"),
            "of more than 3000000 elements in all",
        ),
    ] {
        let found = soon(&body);
        let shown = &body[..body.len().min(200)];
        assert!(
            found.len() < 10_000 && found.contains(expected),
            "{shown}: {}",
            &found[..found.len().min(300)]
        );
    }
}

#[test]
fn long_names_are_cut_or_refused() {
    let long = "a".repeat(50_000);
    let code = module(&format!(
        "for i in range(300):\n  {long} = torch.relu(x)\n  x = {long}\nreturn x"
    ));
    let graph = read_model(archive(&code)).expect("a graph");
    assert!(graph.values.iter().all(|value| value.name.len() < 250));
    // An attribute of that name, True.
    let data = |name: &str| {
        let mut data = b"\x80\x02c__torch__\nM\nq\x00)\x81}X".to_vec();
        data.extend((name.len() as u32).to_le_bytes());
        data.extend(name.as_bytes());
        data.extend(b"\x88sb.");
        data
    };
    let of = |name: &str| match read_model(archive_of(&module("return torch.relu(x)"), &data(name))) {
        Ok(graph) => format!("{} nodes", graph.nodes.len()),
        Err(error) => error.to_string(),
    };
    assert_eq!(of("training"), "1 nodes");
    for name in ["a".repeat(2_000), "a\x1b[2J".to_owned()] {
        assert!(
            of(&name).contains("the name of an attribute holds control characters, or its path is above 1000 bytes")
        );
    }
    let told = outcome(&module("ops.prim.RaiseException(\"\\033[2Jgone\")\nreturn x"));
    assert_eq!(told, "code/__torch__.py:7: the model raises: \\u{1b}[2Jgone");
}
