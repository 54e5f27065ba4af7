//! `secateur explain` on the quickstart's network, which people see first.

use super::run::{Checked, Place, stderr};
use std::process::Output;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn two_layers_and_what_couples_them() -> Checked {
    let place = Place::new()?;
    let found = stdout(&place.expect(0, &["explain", "topology.yaml", "conv1", "layer1.1.conv2"])?);
    // README shows this.
    let chain = "conv1 output channels and layer1.1.conv2 output channels go together: 16 units of group 1
    conv1 output channel 0
      aten::add `input1` in layer1.0 (1x16x14x14, 1x16x14x14 → 1x16x14x14): combines them element by element
    layer1.0.conv2 output channel 0
      aten::add `input_9` in layer1.1 (1x16x14x14, 1x16x14x14 → 1x16x14x14): combines them element by element
    layer1.1.conv2 output channel 0
";
    assert!(found.starts_with(chain), "{found}");
    // A layer and the one that reads it: another pair of sides.
    let found = stdout(&place.expect(0, &["explain", "topology.yaml", "layer1.0.conv1", "layer1.0.conv2"])?);
    assert!(
        found.contains("layer1.0.conv1 output channels and layer1.0.conv2 input channels go together"),
        "{found}"
    );
    assert!(found.contains("sums over its input channels"), "{found}");
    let apart = stdout(&place.expect(0, &["explain", "topology.yaml", "conv1", "fc"])?);
    assert!(apart.starts_with("nothing couples conv1 and fc"), "{apart}");
    Ok(())
}

#[test]
fn one_layer_its_groups_and_what_freezes_it() -> Checked {
    let place = Place::new()?;
    let found = stdout(&place.expect(0, &["explain", "topology.yaml", "fc"])?);
    let expected = "fc (Linear, weight 10x48)
  applied by aten::linear `linear` in fc: 1x48, 10x48, 10 → 1x10
  all 10 output channels: frozen, because the model's outputs keep their size
    fc output channel 0
      the model's outputs keep their size
    what must stay
  input channels 0–19 of 48: group 8, 20 units
    outputs: mix.near
    inputs: fc
  input channels 20–47 of 48: group 9, 28 units
    outputs: mix.wide
    inputs: fc
";
    assert_eq!(found, expected);
    let all = stdout(&place.expect(0, &["explain", "topology.yaml"])?);
    assert_eq!(all.matches("group ").count(), 9, "{all}");
    Ok(())
}

#[test]
fn unknown_layers_and_their_neighbours() -> Checked {
    let place = Place::new()?;
    for (name, part) in [
        (
            "layer1.0.conv",
            "did you mean `layer1.0.conv1`, `layer1.0.conv2` or `layer1.1.conv1`?",
        ),
        ("layer1", "is a module, not a layer; name one of layer1.0.conv1"),
        ("bn1", "`bn1` is a BatchNorm2d"),
        ("zzzz", "layers are conv1, "),
    ] {
        let output = place.expect(2, &["explain", "topology.yaml", name])?;
        assert!(
            stderr(&output).contains(part) && output.stdout.is_empty(),
            "{}",
            stderr(&output)
        );
    }
    place.expect(2, &["explain", "topology.yaml", "conv1", "fc", "mix.near"])?;
    place.expect(2, &["explain", "nowhere.yaml", "conv1"])?;
    std::fs::remove_file(place.path("quickstart/model.pt"))?;
    let output = place.expect(2, &["explain", "topology.yaml", "conv1"])?;
    assert!(stderr(&output).contains("model.pt"));
    place.write("quickstart/model.pt", "not an archive")?;
    place.expect(1, &["explain", "topology.yaml", "conv1"])?;
    Ok(())
}

#[test]
fn drawings_hold_the_group_and_the_chain() -> Checked {
    let place = Place::new()?;
    let draw = |format: &str| -> std::io::Result<String> {
        let words = [
            "explain",
            "topology.yaml",
            "conv1",
            "layer1.0.conv2",
            "--format",
            format,
        ];
        Ok(stdout(&place.expect(0, &words)?))
    };
    let (dot, mermaid, svg) = (draw("dot")?, draw("mermaid")?, draw("svg")?);
    assert_eq!(dot, draw("dot")?);
    for drawing in [&dot, &mermaid, &svg] {
        for word in [
            "group 1: 16 units",
            "layer1.1.conv2",
            "layer2.0.downsample.0",
            "add in layer1.0",
            "16x1x3x3",
        ] {
            assert!(drawing.contains(word), "{word} is missing in {drawing}");
        }
    }
    assert!(dot.starts_with("graph \"topology\" {") && dot.matches('{').count() == dot.matches('}').count());
    assert_eq!(dot.matches("penwidth").count(), 3);
    assert!(mermaid.starts_with("flowchart LR\n    subgraph g1") && mermaid.contains("classDef lit"));
    assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>\n"));
    // Well formed: every element is closed, and nothing is fetched.
    assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    assert_eq!(svg.matches("http").count(), 1);
    assert_eq!(
        svg.matches("class=\"l\"").count() + svg.matches("class=\"o l\"").count(),
        5
    );
    Ok(())
}
