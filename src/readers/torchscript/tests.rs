use super::*;

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
    for file in files {
        let bytes = Bytes::from(std::fs::read(&file).unwrap());
        let start = std::time::Instant::now();
        let found = crate::readers::read_model(bytes);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match found {
            Ok(graph) => {
                let fault = crate::graph::verify(&graph).err();
                println!(
                    "ok {name} {} nodes {:?} {fault:?} {:?}",
                    graph.nodes.len(),
                    start.elapsed(),
                    graph.issues.len()
                );
                if let Ok(out) = std::env::var("SECATEUR_PRINT") {
                    std::fs::write(format!("{out}/{name}.txt"), crate::graph::print(&graph)).unwrap();
                }
            }
            Err(error) => println!("FAIL {name} {:?}: {error}", start.elapsed()),
        }
    }
}
