//! Attention in its spellings, cut within heads and by whole heads: what one unit is, and the proof by removal.
//!
//! `tests/oracles/attention_networks.py` made the networks.

use super::topology::{Proven, entries, prove};
use super::zoo::models::Entry;
use secateur::labels::Split;
use secateur::runtime::Runtime;
use secateur::topology::Group;

/// Network; its coupled groups with heads cut within and whole: units, layers that lose outputs, and the heads.
const CUTS: &[(&str, &[&str], &[&str])] = &[
    (
        "attention_norms",
        &["12 enter proj o", "6 v within 2 heads of 6 on axis 2"],
        &[
            "12 enter proj o",
            "2 qkv whole 2 heads of 4 on axis 3",
            "2 q k v whole 4 heads of 6 on axis 2",
        ],
    ),
    (
        "attention_layouts",
        &[
            "12 enter outer_o chunked_o strung_o inner_o",
            "4 outer_qkv within 2 heads of 4 on axis 2",
            "4 chunked_qkv within 3 heads of 4 on axis 2",
            "4 strung_qkv within 3 heads of 4 on axis 2",
            "5 inner_qkv within 3 heads of 5 on axis 4",
        ],
        &[
            "12 enter outer_o chunked_o strung_o inner_o",
            "2 outer_qkv whole 2 heads of 4 on axis 2",
            "3 chunked_qkv whole 3 heads of 4 on axis 2",
            "3 strung_qkv whole 3 heads of 4 on axis 2",
            "3 inner_qkv whole 3 heads of 5 on axis 4",
        ],
    ),
    (
        "attention_einsum",
        &[
            "12 enter o p",
            "4 q k within 2 heads of 4 on axis 2",
            "4 v within 2 heads of 4 on axis 2",
            "4 qkv within 3 heads of 4 on axis 2",
        ],
        &[
            "12 enter o p",
            "2 q k v whole 2 heads of 4 on axis 2",
            "3 qkv whole 3 heads of 4 on axis 2",
        ],
    ),
    (
        "multi_query",
        &[
            "12 enter stretched_o flagged_o broadcast_o",
            "4 stretched_kv stretched_q within 3 heads of 4 on axis 2",
            "4 flagged_kv flagged_q within 3 heads of 4 on axis 2",
            "4 broadcast_kv broadcast_q within 3 heads of 4 on axis 2",
        ],
        &[
            "12 enter stretched_o flagged_o broadcast_o",
            "3 stretched_q whole 3 heads of 4 on axis 2",
            "3 flagged_q whole 3 heads of 4 on axis 2",
            "3 broadcast_q whole 3 heads of 4 on axis 2",
        ],
    ),
    (
        "gqa_flag",
        &[
            "16 i",
            "4 q k within 4 heads of 4 on axis 2",
            "4 v within 2 heads of 4 on axis 2",
            "16 p",
        ],
        &["16 i", "2 q k v whole 4 heads of 4 on axis 2", "16 p"],
    ),
    (
        "mha",
        &["16 i", "4 a within 4 heads of 4 on axis 1", "16 a.out_proj"],
        &["16 i", "4 a whole 4 heads of 4 on axis 1", "16 a.out_proj"],
    ),
    (
        "mha_cross",
        &[
            "16 i",
            "8 k",
            "12 v",
            "4 a a a within 4 heads of 4 on axis 1",
            "16 a.out_proj",
        ],
        &[
            "16 i",
            "8 k",
            "12 v",
            "4 a a a whole 4 heads of 4 on axis 1",
            "16 a.out_proj",
        ],
    ),
    (
        "stretched",
        &["6 stem", "8 wide", "6 next"],
        &["6 stem", "8 wide", "6 next"],
    ),
    (
        "choices",
        &["6 stem", "4 pieces", "4 left right"],
        &["6 stem", "4 pieces", "4 left right"],
    ),
    ("spectral_convs", &["6", "8"], &["6", "8"]),
];

fn tell(group: &Group) -> String {
    let heads = group.heads.as_ref().map(|heads| {
        let cut = (heads.cut, heads.count, heads.size, heads.axis);
        format!(" {} {} heads of {} on axis {}", cut.0, cut.1, cut.2, cut.3)
    });
    let told = format!(
        "{} {}{}",
        group.units,
        group.outputs.join(" "),
        heads.unwrap_or_default()
    );
    told.trim_end().to_owned()
}

fn cut(entry: &Entry, heads: Split, expected: &[&str], runtime: &Runtime) -> Result<(), String> {
    let Proven { found, worst } = prove(entry, heads, runtime)?;
    let told: Vec<String> = found.groups.iter().map(tell).collect();
    if told != expected {
        return Err(format!("{told:#?}"));
    }
    if worst > 1e-9 {
        return Err(format!("differs by {worst:.1e}"));
    }
    Ok(())
}

#[test]
fn heads_are_cut_both_ways() {
    let (runtime, entries) = (Runtime::new(), entries());
    let mut faults = Vec::new();
    for &(name, within, whole) in CUTS {
        let entry = entries
            .iter()
            .find(|entry| entry.name == name)
            .expect("a network of the index");
        for (heads, expected) in [(Split::Within, within), (Split::Whole, whole)] {
            if let Err(fault) = cut(entry, heads, expected, &runtime) {
                faults.push(format!("{name} {heads:?}: {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
