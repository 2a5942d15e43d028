//! Every deliberate defect that the code under test names belongs to a model.

use std::collections::BTreeSet;
use std::path::Path;

fn sources(path: &Path, text: &mut String) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), text);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        text.push_str(&std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn every_mutant_named_in_the_code_is_listed_by_a_model() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut models) = (String::new(), String::new());
    sources(&package.parent().unwrap().join("src/shm"), &mut code);
    sources(&package.join("src/models"), &mut models);
    let mut named = BTreeSet::new();
    for call in ["mutant(\"", "weaken(\""] {
        named.extend(code.split(call).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    assert!(named.len() > 20, "the search for names finds hardly any");
    named.retain(|name| !models.contains(&format!("\"{name}\"")));
    assert!(named.is_empty(), "no model kills {named:?}");
}
