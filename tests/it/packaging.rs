//! The examples, the alert rules and the install page: they parse, they say what matters, and what they run exists.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tributary::config::Config;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The document of this kind.
fn kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// Fails unless the command line is one that the program takes.
fn assert_command(words: &[String], place: &str) {
    let definition = tributary::cli::definition();
    if let Err(error) = definition.try_get_matches_from(words) {
        let shown = matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
        assert!(shown, "{place}: {words:?}: {error}");
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Fails unless the configuration is valid.
fn assert_config(text: &str, place: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tributary.toml");
    let table: toml::Table = text.parse().unwrap();
    fs::write(&path, table.to_string()).unwrap();
    let config = Config::load(&[path]).unwrap_or_else(|errors| panic!("{place}: {errors}\n{text}"));
    assert!(config.warnings.is_empty(), "{place}: {:?}", config.warnings);
    config
}

/// What every pod of ours has to be.
fn assert_hardened(pod: &Value, container: &Value, place: &str) {
    assert_eq!(pod["automountServiceAccountToken"], false, "{place}");
    assert_eq!(pod["terminationGracePeriodSeconds"], 30, "{place}");
    let context = &pod["securityContext"];
    for (name, value) in [("runAsNonRoot", json!(true)), ("runAsUser", json!(65532)), ("fsGroup", json!(65532))] {
        assert_eq!(context[name], value, "{place}: {name}");
    }
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{place}");
    let context = &container["securityContext"];
    assert_eq!(
        context,
        &json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } }),
        "{place}"
    );
    let volumes = pod["volumes"].as_array().unwrap();
    let secret = volumes.iter().find(|volume| volume["name"] == "secrets").unwrap();
    assert_eq!(secret["secret"]["defaultMode"], 0o440, "{place}");
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mount = |path: &str| mounts.iter().find(|mount| mount["mountPath"] == path).unwrap_or_else(|| panic!("{place}: {path}"));
    assert_eq!(mount("/etc/tributary")["readOnly"], true, "{place}");
    assert_eq!(mount("/run/secrets/tributary")["readOnly"], true, "{place}");
    assert_eq!(mount("/var/lib/tributary").get("readOnly"), None, "{place}");
    assert!(!container["image"].as_str().unwrap().ends_with(":latest"), "{place}");
    let mut arguments = vec!["tributary".to_owned()];
    arguments.extend(words(&container["args"]));
    assert_command(&arguments, place);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(probe) = container.get(probe) {
            assert_command(&words(&probe["exec"]["command"]), place);
        }
    }
}

/// The configuration inside reads its secrets from where the pod mounts them.
fn assert_mounted_config(documents: &[Value], place: &str) {
    let config = assert_config(kind(documents, "ConfigMap")["data"]["tributary.toml"].as_str().unwrap(), place);
    assert_eq!(config.daemon.store.path(), Path::new("/var/lib/tributary/tributary.db"), "{place}");
    assert!(config.show().contains("<file:/run/secrets/tributary/dtrack>"), "{place}: {}", config.show());
}

#[test]
fn the_stateful_set_is_one_hardened_daemon_with_a_volume() {
    let place = "config/examples/kubernetes/statefulset.yaml";
    let documents = yaml(place);
    assert_mounted_config(&documents, place);
    let spec = &kind(&documents, "StatefulSet")["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["serviceName"], kind(&documents, "Service")["metadata"]["name"]);
    assert_eq!(spec["volumeClaimTemplates"][0]["metadata"]["name"], "data");
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    assert_hardened(pod, container, place);
    assert_eq!(words(&container["livenessProbe"]["exec"]["command"]), ["tributary", "health"]);
    assert_eq!(words(&container["readinessProbe"]["exec"]["command"]), ["tributary", "health", "--ready"]);
}

#[test]
fn the_sidecar_stays_starts_first_and_is_the_applications_user() {
    let place = "config/examples/kubernetes/sidecar.yaml";
    let documents = yaml(place);
    assert_mounted_config(&documents, place);
    let spec = &kind(&documents, "Deployment")["spec"];
    assert_eq!((&spec["replicas"], &spec["strategy"]["type"]), (&json!(1), &json!("Recreate")), "two daemons would want one file");
    let pod = &spec["template"]["spec"];
    let sidecar = &pod["initContainers"][0];
    assert_hardened(pod, sidecar, place);
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(words(&sidecar["startupProbe"]["exec"]["command"]), ["tributary", "health", "--ready"]);
    let application = &pod["containers"][0];
    assert_eq!(application["securityContext"].get("runAsUser"), None, "the pod's user is both containers' user");
    let mount = application["volumeMounts"].as_array().unwrap().iter().find(|mount| mount["name"] == "data").unwrap();
    assert_eq!(mount.get("readOnly"), None, "a reader of a write-ahead log writes its lock file");
}

#[test]
fn the_cron_job_runs_once_and_never_twice_at_a_time() {
    let place = "config/examples/kubernetes/cronjob.yaml";
    let documents = yaml(place);
    assert_mounted_config(&documents, place);
    let spec = &kind(&documents, "CronJob")["spec"];
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    let job = &spec["jobTemplate"]["spec"];
    assert_eq!((&job["backoffLimit"], &job["template"]["spec"]["restartPolicy"]), (&json!(0), &json!("Never")));
    let pod = &job["template"]["spec"];
    assert_hardened(pod, &pod["containers"][0], place);
    assert_eq!(words(&pod["containers"][0]["args"]), ["run", "--once"]);
}

#[test]
fn the_compose_sidecar_shares_user_and_a_writable_volume_with_the_application() {
    let documents = yaml("config/examples/compose.yaml");
    let services = &documents[0]["services"];
    let (tributary, application) = (&services["tributary"], &services["application"]);
    assert_eq!((&tributary["user"], &application["user"]), (&json!("65532:65532"), &json!("65532:65532")));
    assert_eq!((&tributary["read_only"], &tributary["cap_drop"]), (&json!(true), &json!(["ALL"])));
    assert_eq!(tributary["stop_grace_period"], "30s");
    let data = "data:/var/lib/tributary";
    for service in [tributary, application] {
        assert!(words(&service["volumes"]).contains(&data.to_owned()), "{service:#}");
    }
    assert_eq!(application["depends_on"]["tributary"]["condition"], "service_healthy");
    let health = words(&tributary["healthcheck"]["test"]);
    assert_eq!(health[..2], ["CMD", "tributary"], "there is no shell in the image");
    assert_command(&health[1..], "config/examples/compose.yaml");
    let config = assert_config(&read("config/examples/tributary.toml"), "config/examples/tributary.toml");
    for name in words(&tributary["secrets"]) {
        assert!(documents[0]["secrets"][&name]["file"].is_string(), "{name}");
        assert!(config.show().contains(&format!("<file:/run/secrets/{name}>")), "{name}");
    }
}

#[test]
fn the_alert_rules_are_about_metrics_that_exist_and_commands_that_exist() {
    let documents = yaml("config/alerts.yaml");
    let rules = documents[0]["groups"][0]["rules"].as_array().unwrap();
    let mut about = Vec::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let expression = rule["expr"].as_str().unwrap();
        let metrics: Vec<&str> =
            expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("tributary_")).collect();
        assert!(
            !metrics.is_empty() && metrics.iter().all(|metric| tributary::metrics::ALL.iter().any(|(name, ..)| name == metric)),
            "{name}: {metrics:?}"
        );
        about.extend(metrics);
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{name}");
        for text in rule["annotations"].as_object().unwrap().values().filter_map(Value::as_str) {
            let text = text.replace("{{ $labels.connection }}", "dtrack");
            for command in text.split(", and ").flat_map(|part| commands(part.rsplit(": ").next().unwrap_or(part))) {
                let words: Vec<String> = command.into_iter().take_while(|word| word != "with").collect();
                let words = if words.last().is_some_and(|word| word == "approve") { [words, vec!["ID".into()]].concat() } else { words };
                assert_command(&words, name);
            }
        }
    }
    for needed in [
        "tributary_last_success_timestamp_seconds",
        "tributary_consecutive_failures",
        "tributary_connection_status",
        "tributary_overdue_seconds",
        "tributary_held_closes",
        "tributary_credential_expiry_timestamp_seconds",
        "tributary_quarantine_items",
        "tributary_config_last_reload_successful",
        "tributary_store_wal_bytes",
    ] {
        assert!(about.contains(&needed), "no alert about {needed}");
    }
}

/// The command lines of ours in a piece of shell: from the last word that is the program (or its image) to what ends a command.
fn commands(shell: &str) -> Vec<Vec<String>> {
    let ours = |word: &&str| *word == "tributary" || word.ends_with("/tributary") || word.starts_with("tributary:");
    let mut found = Vec::new();
    for line in shell.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        for part in line.split(['|', ';', '&', '>', '<']) {
            let words: Vec<&str> = part.split_whitespace().collect();
            let Some(at) = words.iter().rposition(ours) else { continue };
            if words[..at].iter().any(|word| NOT_RUN.contains(word)) {
                continue;
            }
            let arguments = words[at + 1..].iter().map(|word| word.trim_matches(['\'', '"']).to_owned());
            found.push(std::iter::once("tributary".to_owned()).chain(arguments).collect());
        }
    }
    found
}

/// Commands whose argument `tributary` is a file, a unit, an image or an object of that name.
const NOT_RUN: &[&str] = &["install", "rm", "build", "tag", "push", "create", "logs", "rollout"];

/// The fenced blocks of a page in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned() + "\n").collect()
}

#[test]
fn every_command_of_the_install_page_exists_and_every_configuration_is_valid() {
    let page = read("docs/install.md");
    for (name, least) in [("docs/install.md", 12), ("README.md", 4)] {
        let ran: Vec<_> = blocks(&read(name), "sh").iter().flat_map(|block| commands(block)).collect();
        assert!(ran.len() >= least, "{name} was not read: {ran:#?}");
        for words in &ran {
            assert_command(words, name);
        }
    }
    let configurations = blocks(&page, "toml");
    assert!(configurations.len() >= 2);
    for text in &configurations {
        assert_config(text, "docs/install.md");
    }
    // Files of ours that the page names are there.
    let named = page.split(|c: char| c.is_whitespace() || "`()[]'\",".contains(c)).filter(|word| {
        ["systemd/", "config/", "packaging/"].iter().any(|folder| word.starts_with(folder)) && !word.contains('*') && !word.ends_with('/')
    });
    for path in named {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "docs/install.md names {path}");
    }
}

#[test]
fn the_units_run_commands_that_exist() {
    for unit in ["systemd/tributary.service", "systemd/tributary-once.service"] {
        let text = read(unit);
        let started = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        assert_command(&commands(started)[0], unit);
    }
}
