//! No dependency asks for a newer compiler than the crate that uses it promises.
//!
//! This reads what packages say of themselves; `.ci/run` compiles with that compiler where it can be had.

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::process::Command;

fn metadata() -> Value {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn version(text: &str) -> Vec<u64> {
    let mut parts: Vec<u64> = text.split('.').map(|part| part.parse().expect("a number")).collect();
    parts.resize(3, 0);
    parts
}

#[test]
fn no_dependency_asks_for_a_newer_compiler() {
    let metadata = metadata();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let packages: HashMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|p| (p["id"].as_str().unwrap().to_owned(), p)).collect();
    let nodes: HashMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|n| (n["id"].as_str().unwrap().to_owned(), n))
        .collect();
    for (name, promised) in [("staffetta", "1.85"), ("staffetta-derive", "1.85"), ("staffetta-cli", "1.88")] {
        let (root, package) = packages.iter().find(|(_, p)| p["name"] == name).expect("a member");
        assert_eq!(package["rust_version"], promised, "{name}: README.md says otherwise");
        let mut seen = HashSet::new();
        let mut queue = vec![root.clone()];
        while let Some(id) = queue.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            let package = &packages[&id];
            if let Some(needed) = package["rust_version"].as_str() {
                let name = &package["name"];
                assert!(version(needed) <= version(promised), "{name} needs Rust {needed}, not {promised}");
            }
            for dependency in list(&nodes[&id]["deps"]) {
                // Tests may need a newer one.
                if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev") {
                    queue.push(dependency["pkg"].as_str().expect("an id").to_owned());
                }
            }
        }
        println!("{name}: Rust {promised} suffices for it and {} dependencies", seen.len() - 1);
    }
}
