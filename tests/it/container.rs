//! The container image: the Dockerfile's rules, and its root file system at work with no network but its own loopback.

#![expect(clippy::print_stderr, reason = "what is skipped is told")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use tributary_simulator::{Size, Vendor, dependency_track::DependencyTrack};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Instructions of the Dockerfile: comments gone, continued lines joined.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(here("Dockerfile")).unwrap();
    let lines: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    lines.replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

#[test]
fn p4_the_image_is_from_scratch_for_a_user_without_rights_and_says_what_it_is() {
    let all = instructions();
    for from in all.iter().filter_map(|line| line.strip_prefix("FROM ")) {
        let image = from.split_whitespace().next().unwrap();
        let tag = image.split_once(':').map(|(_, tag)| tag);
        assert!(image == "scratch" || tag.is_some_and(|tag| tag != "latest"), "{image} may be another one tomorrow");
    }
    let last = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let image = &all[last..];
    assert_eq!(image[0], "FROM scratch");
    for line in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "VOLUME /var/lib/tributary", "COPY --from=build /rootfs /"] {
        assert!(image.iter().any(|have| have == line), "{line}");
    }
    assert!(!image.iter().any(|line| line.starts_with("RUN ")), "there is no shell in it");
    let labels = image.iter().find(|line| line.starts_with("LABEL ")).unwrap();
    for name in ["title", "description", "licenses", "version", "revision"] {
        assert!(labels.contains(&format!("org.opencontainers.image.{name}=")), "{name}");
    }
    assert!(image.contains(&format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"))), "the version is the package's");
    let exec = |start: &str| -> Vec<String> {
        let line = image.iter().find(|line| line.starts_with(start)).unwrap();
        serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
    };
    assert_eq!(exec("HEALTHCHECK "), ["/usr/local/bin/tributary", "health"]);
    assert_eq!(exec("ENTRYPOINT "), ["/usr/local/bin/tributary"]);
    assert_eq!(exec("CMD "), ["run"]);
}

#[test]
fn p4_what_the_image_is_built_from_reaches_the_builder() {
    let ignored = fs::read_to_string(here(".dockerignore")).unwrap();
    let sent: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for copy in instructions().iter().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.starts_with("--from")) {
        let words: Vec<&str> = copy.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(here(source).exists(), "COPY {source}");
            assert!(sent.contains(&source.split('/').next().unwrap()), ".dockerignore keeps {source} back");
        }
    }
}

/// Runs as PID 1 of namespaces of its own: the root file system `$1` read-only, the volume `$2` and the configuration
/// `$3` mounted where a container has them, loopback and nothing else as network, user 65532 without any capability.
const ISOLATED: &str = r#"
set -eu
root=$1 volume=$2 config=$3
ip link set lo up
test "$(ip -o link show up | wc -l)" = 1
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$volume" "$root/var/lib/tributary"
mount --bind "$config" "$root/etc/tributary"
echo '127.0.0.1 localhost' > "$config/hosts"
touch "$root/etc/hosts"
mount --bind "$config/hosts" "$root/etc/hosts"
mount -o remount,bind,ro "$root"
if touch "$root/usr/written" 2>/dev/null; then echo 'the root is writable'; exit 90; fi

inside="env -i PATH=$PATH TMPDIR=/var/lib/tributary
  setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+setuid,+setgid,+sys_chroot
  chroot --userspec=65532:65532 --groups=65532 $root /usr/local/bin/tributary"

# Every connector against its simulated tool.
$inside demo --exit --findings 60 --store /var/lib/tributary/demo.db

# A daemon, beside it a process that finds a tool by name, in a time zone, with a secret from a file.
$inside demo --findings 60 --store /var/lib/tributary/demo.db &
daemon=$!
port=$(sed 's/.*"dependency_track":\([0-9]*\).*/\1/' "$volume/demo.demo.json")
sed "s/PORT/$port/" "$config/template" > "$config/tributary.toml"
tries=0
until $inside check dtrack; do tries=$((tries + 1)); test "$tries" -lt 60; sleep 1; done
grep -E '^(Uid|CapEff|CapPrm|CapInh|NoNewPrivs)' "$root/proc/$daemon/status"
$inside run --once --connection dtrack
# The daemon, asked as the image's HEALTHCHECK asks it.
$inside run &
second=$!
tries=0
until $inside health --ready; do tries=$((tries + 1)); test "$tries" -lt 60; sleep 1; done
kill -TERM "$second"
wait "$second"
# A TLS client is made with the certificates of the image, and with those of the binary where a mount hides them: it tries
# again and again to reach nobody (stopped: 124, or given up: 69), and does not say that it cannot be made (78).
for with in image binary; do
  code=0; timeout 5 $inside check nobody || code=$?
  test "$code" = 124 || test "$code" = 69
  mount -t tmpfs none "$root/etc/ssl"
done
kill -TERM "$daemon"
wait "$daemon"
"#;

#[test]
fn p4_the_root_file_system_works_read_only_without_rights_and_without_a_network() {
    let name = "p4_the_root_file_system_works_read_only_without_rights_and_without_a_network";
    let isolate = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
    for (command, arguments) in [("unshare", &isolate[..]), ("setpriv", &["--version"]), ("ip", &["-V"]), ("ldd", &["--version"])] {
        let arguments = arguments.iter().chain(if command == "unshare" { &["true"][..] } else { &[] });
        if !Command::new(command).args(arguments).output().is_ok_and(|done| done.status.success()) {
            eprintln!("SKIPPED: {name}: `{command}` is not here or not permitted (it needs root)");
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    // The user 65532 goes through it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [root, volume, config] = ["root", "volume", "config"].map(|name| folder.path().join(name));
    let built = Command::new(here("packaging/rootfs.sh")).arg(env!("CARGO_BIN_EXE_tributary")).arg(&root).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // A new volume is made like the image's folder.
    let own = root.join("var/lib/tributary").metadata().unwrap();
    assert_eq!((own.uid(), own.gid(), own.mode() & 0o777), (65532, 65532, 0o700));
    for folder in [&volume, &config] {
        fs::create_dir(folder).unwrap();
        std::os::unix::fs::chown(folder, Some(65532), Some(65532)).unwrap();
    }
    let secret = config.join("dtrack");
    let tool = DependencyTrack::new(Size { records: 1, findings: 1, seed: 1 });
    fs::write(&secret, &tool.fields("")[0].1).unwrap();
    std::os::unix::fs::chown(&secret, Some(65532), Some(65532)).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o400)).unwrap();
    fs::write(
        config.join("template"),
        "strict_secrets = true\n[connections.dtrack]\nconnector = \"dependency_track\"\nlocation = \"http://localhost:PORT\"\n\
         timezone = \"Europe/Berlin\"\nsecret = { file = \"dtrack\" }\n\
         [connections.nobody]\nconnector = \"dependency_track\"\nlocation = \"https://localhost:1\"\nsecret = { file = \"dtrack\" }\n",
    )
    .unwrap();

    let done = Command::new("unshare").args(isolate).args(["sh", "-c", ISOLATED, "sh"]).args([&root, &volume, &config]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{:?}\n{stdout}\n{stderr}", done.status);
    for line in ["Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(stdout.contains(line), "{line}\n{stdout}");
    }

    let mut databases = 0;
    for entry in fs::read_dir(&volume).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(metadata.uid(), 65532, "{name}");
        if name.contains(".db") {
            databases += 1;
            assert_eq!(metadata.mode() & 0o777, 0o600, "{name}");
        }
    }
    assert!(databases >= 2, "the demo's and the default one");
    assert!(volume.join("tributary.db").metadata().unwrap().len() > 0);
    assert!(!root.join("bin/sh").exists() && !root.join("usr/bin").exists(), "there is no shell in it");
}
