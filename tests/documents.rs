//! The documents say what the program does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use tributary::config::Config;
use tributary_connectors::SOURCES;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_readme_lists_every_connector() {
    let rows: String = SOURCES
        .iter()
        .map(|entry| {
            let meta = entry.meta;
            let permissions: Vec<String> = meta.permissions.iter().map(|name| format!("`{name}`")).collect();
            format!("| [`{0}`](docs/connectors/{0}.md) | {1} | {2} | {3} |\n", meta.id, meta.title, meta.record, permissions.join(", "))
        })
        .collect();
    let expected =
        format!("<!-- connectors -->\n| id | tool | a record is | least permissions |\n|---|---|---|---|\n{rows}<!-- /connectors -->");
    assert!(read("README.md").contains(&expected), "put this into README.md:\n{expected}");
    for entry in SOURCES {
        assert!(!read(&format!("docs/connectors/{}.md", entry.meta.id)).is_empty());
    }
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let reasons = read("docs/dependencies.md");
    for manifest in ["Cargo.toml", "connectors/Cargo.toml", "simulator/Cargo.toml"] {
        let table: toml::Table = read(manifest).parse().unwrap();
        for section in ["dependencies", "dev-dependencies"] {
            for name in table.get(section).and_then(|section| section.as_table()).into_iter().flat_map(|section| section.keys()) {
                assert!(
                    name.starts_with("tributary") || reasons.contains(name.as_str()),
                    "{name} of {manifest} has no reason in docs/dependencies.md"
                );
            }
        }
    }
}

#[test]
fn the_example_configuration_is_valid_with_and_without_its_comments() {
    let text = read("config/tributary.toml");
    let uncommented: String =
        text.lines().map(|line| format!("{}\n", line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))).collect();
    let folder = tempfile::tempdir().unwrap();
    for (text, connections) in [(text, 0), (uncommented, 1)] {
        let path = folder.path().join("example.toml");
        let mut table: toml::Table = text.parse().unwrap();
        if Config::schema()["properties"].get("server").is_none() {
            // It comes with the daemon's HTTP server.
            table.remove("server");
        }
        fs::write(&path, table.to_string()).unwrap();
        let config = Config::load(&[path]).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.connections.len(), connections);
    }
}

#[test]
fn the_schema_file_is_the_programs_own() {
    let current: serde_json::Value = serde_json::from_str(&read("config/schema.json")).unwrap();
    assert!(current == Config::schema(), "run: tributary config schema > config/schema.json");
}

/// Every `E0123` in the sources, from their text.
fn codes(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            codes(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric());
            found.extend(
                words.filter(|word| word.len() == 5 && word.starts_with("E0") && word[1..].parse::<u16>().is_ok()).map(str::to_owned),
            );
        }
    }
}

#[test]
fn the_runbook_explains_every_error_code_and_no_other() {
    let mut used = std::collections::BTreeSet::new();
    codes(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
    let runbook = read("docs/runbook.md");
    let explained: std::collections::BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|word| word.starts_with("E0"))
        .map(str::to_owned)
        .collect();
    assert_eq!(used, explained);
}
