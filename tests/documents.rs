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
    assert_eq!(current, Config::schema(), "run: tributary config schema > config/schema.json");
}
