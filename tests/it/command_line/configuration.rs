//! Problems of a configuration: all of them at once, each once, with file and line.

use std::process::Command;

/// What `config validate` says of this configuration, with these variables.
fn told(text: &str, variables: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tributary.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.args(["config", "validate"]).current_dir(folder.path()).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const CONNECTION: &str = "[connections.a]\nconnector = \"semgrep\"\n";

#[test]
fn a_secret_that_names_nothing_is_refused() {
    for (secret, why) in [
        ("\"\"", "the secret is empty"),
        ("\"  \"", "the secret is empty"),
        ("{ env = \"\" }", "`env` is empty"),
        ("{ file = \"\" }", "`file` is empty"),
        ("{ credential = \"\" }", "`credential` is empty"),
        ("{ command = [] }", "`command` names no program"),
        ("{ command = [\"\"] }", "`command` names no program"),
        ("{ command = [\"\", \"x\"] }", "`command` names no program"),
    ] {
        let (code, stderr) = told(&format!("{CONNECTION}secret = {secret}\n"), &[]);
        assert_eq!(code, 78, "{secret}: {stderr}");
        assert!(stderr.contains(&format!("error[E0113]: tributary.toml:3:10: `secret`: {why}")), "{secret}: {stderr}");
        assert!(stderr.contains("\n1 error;"), "{secret}: {stderr}");
    }
    let (code, stderr) = told(&format!("{CONNECTION}secret = {{ command = [\"cat\", 7] }}\n"), &[]);
    assert!(code == 78 && stderr.contains("E0113") && stderr.contains("\n1 error;"), "{stderr}");
    let empty = "secret = { env = \"X\" }\nhttp = { ca_file = \"\", proxy = \"\" }\n";
    let (code, stderr) = told(&format!("{CONNECTION}{empty}"), &[]);
    assert!(code == 78 && stderr.contains("`ca_file` is empty") && stderr.contains("`proxy` is empty"), "{stderr}");
}

#[test]
fn one_problem_hides_no_other_and_is_told_once() {
    let (code, stderr) = told(
        "strict_secrets = \"yes\"
[daemon]
concurrency = \"many\"
[store]
url = \"postgres://x\"
keep_raw = \"maybe\"
keep_operations = 90
[server]
listen = \"0.0.0.0:8420\"
probe_listen = \"nowhere\"
[connections.a]
connector = \"semgrp\"
label = 7
enabled = \"yes\"
minimum_severity = \"severe\"
sync = \"0 0 3 * * * 2027\"
http = { timeout = \"soon\" }
[connections.b]
connector = \"semgrep\"
label = 7
enabled = \"yes\"
location = \"http://x.example\"
fields = 7
[connections.c]
label = 8
",
        &[],
    );
    assert_eq!(code, 78, "{stderr}");
    for told in [
        "error[E0103]: tributary.toml:1:18: `strict_secrets` has to be true or false",
        "error[E0103]: tributary.toml:3:15: `concurrency` has to be a number",
        "error[E0104]: tributary.toml:5:7: store.url is `postgres://x`",
        "error[E0103]: tributary.toml:6:12: `keep_raw` has to be true or false",
        "error[E0103]: tributary.toml:7:19: `keep_operations` has to be text",
        "error[E0114]: tributary.toml:9:10: server.listen is `0.0.0.0:8420`, which is reached from other machines",
        "error[E0114]: tributary.toml:10:16: server.probe_listen is `nowhere`",
        "error[E0110]: tributary.toml:12:13: unknown connector `semgrp`",
        "error[E0103]: tributary.toml:13:9: `label` has to be text",
        "error[E0103]: tributary.toml:14:11: `enabled` has to be true or false",
        "error[E0109]: tributary.toml:15:20: unknown severity `severe`",
        "error[E0107]: tributary.toml:16:8: schedule \"0 0 3 * * * 2027\": a cron rule has 5 fields, or 6 with seconds first; this one has 7",
        "error[E0105]: tributary.toml:17:20: `timeout` is `soon`",
        "error[E0111]: tributary.toml:18:14: [connections.b] lacks `secret`",
        "error[E0103]: tributary.toml:20:9: `label` has to be text",
        "error[E0103]: tributary.toml:21:11: `enabled` has to be true or false",
        "error[E0112]: tributary.toml:22:12: `location` is plain http",
        "error[E0103]: tributary.toml:23:10: `fields` has to be a table",
        "error[E0110]: tributary.toml:24:14: [connections.c] names no connector",
        "error[E0103]: tributary.toml:25:9: `label` has to be text",
        "\n20 errors; nothing was changed",
    ] {
        assert!(stderr.contains(told), "missing: {told}\nin:\n{stderr}");
    }
}

#[test]
fn a_setting_of_the_environment_is_told_with_its_variable() {
    for (variable, value, told_) in [
        (
            "TRIBUTARY__STORE__URL",
            "mysql://x",
            "error[E0104]: store.url is `mysql://x`, set by the environment variable TRIBUTARY__STORE__URL",
        ),
        ("TRIBUTARY__STORE__KEEP_OPERATIONS", "long", "set by the environment variable TRIBUTARY__STORE__KEEP_OPERATIONS"),
        ("TRIBUTARY__SERVER__LISTEN", "0.0.0.0:1", "set by the environment variable TRIBUTARY__SERVER__LISTEN"),
        ("TRIBUTARY__DAEMON__CONCURRENCY", "0", "set by the environment variable TRIBUTARY__DAEMON__CONCURRENCY"),
    ] {
        let (code, stderr) = told("[store]\nurl = \"sqlite:t.db\"\n", &[(variable, value)]);
        assert!(code == 78 && stderr.contains(told_), "{variable}: {stderr}");
    }
    // An empty variable is none.
    let (code, stderr) = told("[store]\nurl = \"sqlite:t.db\"\n", &[("TRIBUTARY__STORE__URL", "")]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_secret_that_cannot_be_read_is_told_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    for (secret, cure) in [
        ("{ env = \"NO_SUCH\" }", "fix:   set the variable where tributary is started"),
        ("{ file = \"none\" }", "fix:   put the secret alone into that file"),
        ("{ credential = \"none\" }", "fix:   add a line `LoadCredential="),
        ("{ command = [\"/nonexistent\"] }", "fix:   run the command by hand"),
    ] {
        std::fs::write(folder.path().join("tributary.toml"), format!("{CONNECTION}secret = {secret}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        let output = command.arg("check").current_dir(folder.path()).env_clear().output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains("error[E0205]") && stderr.contains(cure), "{secret}: {stderr}");
    }
}
