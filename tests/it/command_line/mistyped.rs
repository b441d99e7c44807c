//! A mistyped word, name or id is an error that names what was meant: an empty list would be taken for good news.

use super::*;

async fn synced() -> TestApp {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_is_none_is_told_with_those_that_are() {
    let bench = synced().await;
    let triage = ["findings", "triage", "--as", "wont-fix"];
    for (command, option, word, near, other) in [
        (&["findings", "list"][..], "--severity", "critcal", "critical", "unknown"),
        (&["findings", "list"], "--state", "opne", "open", "suppressed"),
        (&["findings", "list"], "--connector", "dependency_trak", "dependency_track", "snyk"),
        (&triage, "--severity", "hihg", "high", "low"),
        (&triage, "--state", "opn", "open", "gone"),
        (&triage, "--connector", "synk", "snyk", "burp"),
        (&["records", "list"], "--state", "god", "good", "stale"),
        (&["records", "ignore"], "--state", "missng", "missing", "new"),
    ] {
        let (code, stdout, stderr) = run(&bench, &[command, &[option, word]].concat()).await;
        assert_eq!((code, &*stdout), (2, ""), "{command:?} {option} {word}: {stderr}");
        for told in [format!("'{word}'"), format!("'{near}'"), option.to_owned(), other.to_owned()] {
            assert!(stderr.contains(&told), "{command:?} {option} {word} does not tell {told}: {stderr}");
        }
    }
    let (code, _, stderr) = run(&bench, &["findings", "list", "--cve", "2021-44228"]).await;
    assert!(code == 2 && stderr.contains("CVE-2021-44228"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_may_be_written_in_any_case() {
    let bench = synced().await;
    let lines = |stdout: String| stdout.lines().count();
    let critical = run(&bench, &["findings", "list", "--severity", "critical", "-o", "ndjson"]).await.1;
    assert!(!critical.is_empty());
    assert_eq!(run(&bench, &["findings", "list", "--severity", "Critical", "-o", "ndjson"]).await.1, critical);
    let all = lines(run(&bench, &["findings", "list", "-o", "ndjson"]).await.1);
    assert_eq!(lines(run(&bench, &["findings", "list", "--connector", "DEPENDENCY-TRACK", "-o", "ndjson"]).await.1), all);
    let (code, _, stderr) = run(&bench, &["findings", "list", "--state", "false-positive"]).await;
    assert_eq!(code, 0, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nothing_has_is_told_with_the_nearest() {
    let bench = synced().await;
    change(
        &bench,
        "[connections.t]",
        "[connections.tools]\nconnector = \"dependency_track\"\nlocation = \"https://x.example\"\nsecret = { env = \"X\" }\n[connections.t]",
    );
    let key = bench.query_string("select key from records order by key limit 1");
    let product = bench.query_string("select name from products order by name limit 1");
    let mistyped = |text: &str| format!("{}x", &text[..text.len() - 1]);
    let (wrong_key, wrong_product) = (mistyped(&key), mistyped(&product));
    for (command, kind, name, near) in [
        (&["findings", "list", "--connection"][..], "connection", "toolz", "tools"),
        (&["findings", "triage", "--as", "wont-fix", "--connection"], "connection", "toolz", "tools"),
        (&["records", "list", "--connection"], "connection", "toolz", "tools"),
        (&["records", "unmap", "--connection"], "connection", "toolz", "tools"),
        (&["quarantine", "list", "--connection"], "connection", "toolz", "tools"),
        (&["quarantine", "replay", "--connection"], "connection", "toolz", "tools"),
        (&["run", "--once", "--connection"], "connection", "toolz", "tools"),
        (&["state", "show"], "connection", "toolz", "tools"),
        (&["connections", "pause"], "connection", "toolz", "tools"),
        (&["connections", "show"], "connection", "toolz", "tools"),
        (&["connectors"], "connector", "dependency_trak", "dependency_track"),
        (&["findings", "list", "--record"], "record", &wrong_key, &key),
        (&["findings", "list", "--product"], "product", &wrong_product, &product),
        (&["products", "delete"], "product", &wrong_product, &product),
        (&["records", "ignore"], "record", &wrong_key, &key),
    ] {
        let (code, stdout, stderr) = run(&bench, &[command, &[name]].concat()).await;
        assert_eq!((code, &*stdout), (4, ""), "{command:?} {name}: {stderr}");
        let told = format!("error[E0401]: there is no {kind} `{name}`\n  fix:   did you mean `{near}`?");
        assert!(stderr.contains(&told), "{command:?}: {stderr}");
    }
    // What is stored has a name even when the configuration has it no more.
    change(&bench, "[connections.t]", "[connections.other]");
    change(&bench, "[connections.t.fields]", "[connections.other.fields]");
    let (code, stdout, _) = run(&bench, &["findings", "list", "--connection", "t"]).await;
    assert!(code == 0 && stdout.lines().count() > 1, "{stdout}");
    // A name that is one, and nothing that matches beside it.
    let (code, _, stderr) = run(&bench, &["findings", "list", "--connection", "other"]).await;
    assert!(code == 0 && stderr.contains("No findings match"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named_once_and_the_rest_is_done() {
    let bench = synced().await;
    let key = bench.query_string("select key from records order by key limit 1");
    let (code, stdout, stderr) = run(&bench, &["records", "ignore", "nope", &key, "nope"]).await;
    assert_eq!(code, 4, "{stderr}");
    assert_eq!(stderr.matches("error[E0401]: there is no record `nope`").count(), 1, "{stderr}");
    assert!(stdout.contains("ignored"), "{stdout}");
    let id = bench.query_string("select id from findings limit 1");
    let (code, _, stderr) = run(&bench, &["findings", "triage", "nope", &id, "--as", "wont-fix"]).await;
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("error[E0401]: there is no finding `nope`") && stderr.contains("1 findings, 1 of them changed"), "{stderr}");
    assert_eq!(bench.query_i64("select count(*) from findings where triage = 'wont_fix'"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_advised_is_for_the_same_configuration() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    let real = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    change(&bench, &real, "odt_wrong");
    let next = format!("next:  tributary check t --config {}", bench.config().display());
    let (code, _, stderr) = run(&bench, &["sync"]).await;
    assert!(code == 77 && stderr.contains(&next), "{stderr}");
    let (code, _, stderr) = run(&bench, &["check"]).await;
    assert!(code == 77 && stderr.contains("fix:") && !stderr.contains("next:"), "{stderr}");
}
