//! A metric for secateur in Rust: the fraction of samples whose largest output is the label's.
//!
//! In a pipeline:   metric: {command: {argv: [target/release/accuracy], files: ["src/**/*.rs"]}}
//! Try it alone:    secateur plugin test target/release/accuracy
//!
//! It needs the crates safetensors and serde_json, and nothing of secateur. The protocol is in docs/plugin-protocol.md:
//! a question is a line of JSON with `bytes` bytes of safetensors behind it, an answer is a line of JSON.

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};

fn main() -> Result<(), Box<dyn Error>> {
    // A descriptor opened through /dev/fd needs no unsafe code.
    let channel = |name: &str| std::env::var(name).map(|number| format!("/dev/fd/{number}"));
    let (Ok(questions), Ok(answers)) = (channel("SECATEUR_QUESTIONS"), channel("SECATEUR_ANSWERS")) else {
        return Err("this is a plug-in of secateur: try it with `secateur plugin test`".into());
    };
    let mut questions = BufReader::with_capacity(1 << 20, OpenOptions::new().read(true).open(questions)?);
    let mut answers = OpenOptions::new().write(true).open(answers)?;
    let mut line = String::new();
    while questions.read_line(&mut line)? > 0 {
        let question: Value = serde_json::from_str(&line)?;
        let mut tensors = vec![0; question["bytes"].as_u64().unwrap_or(0) as usize];
        questions.read_exact(&mut tensors)?;
        if question["ask"] == "bye" {
            break;
        }
        let mut answer = answer(&question, &tensors).unwrap_or_else(|error| json!({"error": error.to_string()}));
        answer["id"] = question["id"].clone();
        writeln!(answers, "{answer}")?;
        line.clear();
    }
    Ok(())
}

fn answer(question: &Value, tensors: &[u8]) -> Result<Value, Box<dyn Error>> {
    match question["ask"].as_str() {
        Some("hello") => Ok(json!({
            "protocol": 1,
            "kind": "metric",
            "form": "per_sample",
            "name": "accuracy",
            "direction": "maximize",
            "tensors": ["outputs", "targets"],
            "bounds": [0, 1],
        })),
        Some("values") => Ok(json!({"values": values(&SafeTensors::deserialize(tensors)?)?})),
        _ => Err("not a question for this plug-in".into()),
    }
}

/// One value a sample.
fn values(tensors: &SafeTensors<'_>) -> Result<Vec<bool>, Box<dyn Error>> {
    let (outputs, targets) = (tensors.tensor("outputs")?, tensors.tensor("targets")?);
    let &[_, classes] = outputs.shape() else {
        return Err("it needs outputs of shape [n, classes]".into());
    };
    if (outputs.dtype(), targets.dtype()) != (Dtype::F32, Dtype::I64) {
        return Err("it needs float32 outputs and int64 targets".into());
    }
    let (logits, _) = outputs.data().as_chunks::<4>();
    let (targets, _) = targets.data().as_chunks::<8>();
    let hit = |(logits, target): (&[[u8; 4]], &[u8; 8])| {
        let mut best = (0, f32::NEG_INFINITY);
        for (class, logit) in logits.iter().map(|bytes| f32::from_le_bytes(*bytes)).enumerate() {
            if logit > best.1 {
                best = (class as i64, logit);
            }
        }
        best.0 == i64::from_le_bytes(*target)
    };
    Ok(logits.chunks(classes.max(1)).zip(targets).map(hit).collect())
}
