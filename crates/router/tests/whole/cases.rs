//! The table of cases and their tests names none that does not exist.

use std::path::Path;

#[test]
fn each_test_of_the_table_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = std::fs::read_to_string(crates.join("../docs/cases.md")).unwrap();
    let named: Vec<(&str, &str)> = table.split('`').filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() > 60, "{}", named.len());
    for (file, test) in named {
        let text = std::fs::read_to_string(crates.join(format!("{file}.rs"))).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "docs/cases.md names {file}.rs::{test}, which does not exist");
    }
}
