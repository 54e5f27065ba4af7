//! NNI 1.9 on the same network, samples and libtorch, in its own process.

use super::loops::Run;
use super::network::Network;
use secateur::formats::safetensors;
use secateur::tensor::Tensor;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// The samples as the network takes them, in a file that Python reads.
pub fn samples(network: &Network, folder: &Path) -> Result<(), Box<dyn Error>> {
    let batch = network.dataset.read(0..network.dataset.len())?;
    let targets = batch.targets.ok_or("the samples have no classes")?;
    let tensors: Vec<(String, Tensor)> = vec![("x".into(), batch.inputs[0].clone()), ("y".into(), targets)];
    Ok(std::fs::write(
        folder.join("samples.safetensors"),
        safetensors::write(&tensors),
    )?)
}

/// One analysis; `environment` holds `tp/bin/python` and `nni-1.9`.
pub fn run(network: &Network, environment: &Path, folder: &Path, threads: usize) -> Result<Run, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/speed/nni.py");
    let sparsities: Vec<String> = network.sparsities.iter().map(ToString::to_string).collect();
    let output = Command::new(environment.join("tp/bin/python"))
        .arg(script)
        .arg("--nni")
        .arg(environment.join("nni-1.9"))
        .arg("--model")
        .arg(&network.path)
        .arg("--samples")
        .arg(folder.join("samples.safetensors"))
        .args(["--sparsities", &sparsities.join(",")])
        .args(["--batch", &network.batch.to_string(), "--threads", &threads.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |value: &serde_json::Value| value.as_f64();
    Ok(Run {
        seconds: number(&said["seconds"]).ok_or("NNI told no seconds")?,
        values: said["values"]
            .as_array()
            .ok_or("NNI told no values")?
            .iter()
            .filter_map(number)
            .collect(),
        replayed: None,
    })
}
