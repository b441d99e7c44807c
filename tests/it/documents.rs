//! The documents say what the program does.

use std::{fs, path::Path};

use tributary::config::Config;
use tributary_connectors::CONNECTORS;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_readme_lists_every_connector() {
    let rows: String = CONNECTORS
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
    for entry in CONNECTORS {
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

#[test]
fn the_runbook_explains_every_error_code_and_no_other() {
    let used: std::collections::BTreeSet<&str> = tributary::error_code::ALL.iter().map(|(code, _)| *code).collect();
    let runbook = read("docs/runbook.md");
    let explained: std::collections::BTreeSet<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).filter(|word| word.starts_with("E0")).collect();
    assert_eq!(used, explained);
    assert_eq!(used.len(), tributary::error_code::ALL.len(), "each code is there once");
}

#[test]
fn error_codes_stand_in_one_source_alone() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let own = fs::read_to_string(src.join("error_code.rs")).unwrap();
    let mut text = String::new();
    sources(&src, &mut text);
    let codes = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter(|word| word.len() == 5 && word.starts_with("E0") && word[1..].parse::<u16>().is_ok()).count()
    };
    assert_eq!(codes(&text), codes(&own), "src/error_code.rs has a constant for each");
}

/// The Rust sources below a folder, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// `d1` from `fn d1_kill_9(`, of every test whose name begins with a promise's number.
fn promised(sources: &str) -> std::collections::BTreeSet<String> {
    let names = sources.split("fn ").skip(1).filter_map(|rest| rest.split_once('_').map(|(number, _)| number));
    names
        .filter(|name| name.len() <= 3 && name.starts_with(|c: char| "adfkopsADFKOPS".contains(c)))
        .filter(|name| name.len() > 1 && name[1..].bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_uppercase)
        .collect()
}

#[test]
fn every_promise_that_a_test_is_named_after_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "tests", "connectors", "simulator/src", "simulator/tests"] {
        sources(&root.join(folder), &mut text);
    }
    let page = read("docs/promises.md");
    let explained: std::collections::BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .filter(|id| id.len() <= 3 && id.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect();
    let named = promised(&text);
    let missing: Vec<_> = named.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/promises.md does not say what these are: {missing:?}");
    // D5 and the faults are rows of a table of their own.
    let faults = read("docs/reliability.md");
    let idle: Vec<_> = explained.difference(&named).filter(|id| !faults.contains(&format!("| {id} |"))).collect();
    assert!(idle.is_empty(), "no test is named after these of docs/promises.md: {idle:?}");
}

/// The columns that the documentation of the data model lists for a table, in order.
fn documented(page: &str, table: &str) -> Vec<String> {
    let section = page.split(&format!("### `{table}`")).nth(1).and_then(|rest| rest.split("\n#").next()).unwrap_or_default();
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn the_data_model_lists_every_public_column_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.db");
    drop(tributary::store::Store::open(&file, true).unwrap());
    let database = rusqlite::Connection::open(&file).unwrap();
    let page = read("docs/data-model.md");
    for table in [
        "findings",
        "finding_events",
        "records",
        "products",
        "assets",
        "identities",
        "memberships",
        "third_parties",
        "third_party_scores",
        "operations",
        "quarantine",
    ] {
        let mut statement = database.prepare("select name from pragma_table_info(?1) order by cid").unwrap();
        let columns: Vec<String> = statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(documented(&page, table), columns, "docs/data-model.md, {table}");
    }
}

#[cfg(feature = "demo")]
#[test]
fn the_readme_shows_what_the_demo_prints() {
    let page = read("README.md");
    let shown = page.split("The demo ends with:\n```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tributary"));
    let output = command.args(["demo", "--exit"]).current_dir(folder.path()).env_clear().output().unwrap();
    let printed = String::from_utf8([output.stderr, output.stdout].concat()).unwrap();
    assert!(output.status.success(), "{printed}");
    let last: Vec<&str> = printed.lines().rev().take(shown.lines().count()).collect();
    for (line, printed) in shown.lines().zip(last.into_iter().rev()) {
        let same = line.strip_suffix('…').map_or(line == printed, |start| printed.starts_with(start));
        assert!(same, "README.md shows\n{line}\nand the demo prints\n{printed}");
    }
}
