//! References to secrets, resolved only when a connection is opened.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tributary_connectors::{kit::Secret, model::text};

/// Largest secret, in bytes.
const LONGEST: usize = 64 << 10;
/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one trailing newline is cut.
    File(PathBuf),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The output of a command, run without a shell.
    Command(Vec<String>),
    /// In the configuration itself.
    Literal(Secret),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name} {}", if variable(name).is_some() { "set" } else { "not set" }),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Credential(name) => write!(f, "credential:{name}"),
            SecretRef::Command(words) => write!(f, "command:{}", words.first().map_or("", String::as_str)),
            SecretRef::Literal(_) => f.write_str("literal"),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An environment variable that is set and not empty. The one place that reads the environment for the configuration.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl SecretRef {
    /// What to do when it cannot be read.
    pub(crate) fn cure(&self) -> &'static str {
        match self {
            SecretRef::Env(_) => "set the variable where tributary is started: in the shell, the unit or the container",
            SecretRef::File(_) => "put the secret alone into that file, readable by the user that runs tributary and not by everybody",
            SecretRef::Credential(_) => {
                "add a line `LoadCredential=NAME:/path` to the unit; by hand set CREDENTIALS_DIRECTORY to the folder with the secrets"
            }
            SecretRef::Command(_) => {
                "run the command by hand as the same user: it gets PATH and HOME alone, has ten seconds, and has to print the secret"
            }
            SecretRef::Literal(_) => "write the secret into the configuration, or better a reference to it",
        }
    }

    /// The secret itself, read anew each time: what was rotated is found. Blocks, for up to ten seconds when it is a command.
    pub(crate) fn resolve(&self) -> Result<Secret, String> {
        let secret = match self {
            SecretRef::Literal(secret) => secret.clone(),
            SecretRef::Env(name) => {
                Secret::new(&variable(name).ok_or_else(|| format!("the environment variable `{name}` is not set, or empty"))?)
            }
            SecretRef::File(path) => file(path)?,
            SecretRef::Credential(name) => {
                let folder = variable("CREDENTIALS_DIRECTORY")
                    .ok_or("`CREDENTIALS_DIRECTORY` is not set: systemd sets it for units with `LoadCredential=`")?;
                file(&Path::new(&folder).join(name))?
            }
            SecretRef::Command(words) => command(words, LIMIT)?,
        };
        let text = secret.expose();
        let cut = text.strip_suffix('\n').map_or(text, |cut| cut.strip_suffix('\r').unwrap_or(cut));
        if cut.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(cut)) }
    }
}

/// What about a secret looks as if more, or something else, was stored than the secret; in words that do not show it.
pub(super) fn doubts(secret: &str) -> Vec<String> {
    /// What belongs to the way in which a secret is sent, not to the secret.
    const WORDS: [&str; 4] = ["Authorization:", "Bearer ", "Basic ", "token "];
    let mut doubts = Vec::new();
    let mut rest = secret;
    if let Some(cut) = rest.strip_prefix('\u{feff}') {
        doubts.push("begins with a byte order mark: save it as UTF-8 without one".to_owned());
        rest = cut;
    }
    if rest.trim() != rest {
        doubts.push("begins or ends with blanks or empty lines".to_owned());
        rest = rest.trim();
    }
    if let Some(cut) = ['"', '\'', '`'].iter().find_map(|quote| rest.strip_prefix(*quote)?.strip_suffix(*quote)) {
        doubts.push("stands in quotes, which are sent as a part of it".to_owned());
        rest = cut.trim();
    }
    for word in WORDS {
        if let Some((_, cut)) = rest.split_at_checked(word.len()).filter(|(start, _)| start.eq_ignore_ascii_case(word)) {
            doubts
                .push(format!("begins with `{}`: keep what comes after that word alone, tributary adds what the tool wants", word.trim()));
            rest = cut.trim();
        }
    }
    // Keys in PEM have lines.
    if rest.contains(['\n', '\r']) && !rest.starts_with("-----BEGIN ") {
        doubts.push("has a line break inside: one secret a file, and nothing else in it".to_owned());
    }
    if rest.contains(|c| text::is_hidden(c) && !"\r\n".contains(c)) || rest.contains('\u{a0}') {
        doubts.push("holds a character that is not seen, as copying from a web page brings along".to_owned());
    }
    doubts
}

/// Who can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner, perhaps a group.
    Few,
    /// Everybody on this machine, but it lies in memory only and goes with its mount: Kubernetes makes secret volumes so.
    AllInMemory,
    /// Everybody on this machine, and whoever gets hold of the disk or its backups.
    All,
}

/// Who can read an open file.
pub(crate) fn readers(file: &fs::File) -> io::Result<Readers> {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of statfs(2).
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o004 == 0 {
        return Ok(Readers::Few);
    }
    let kind = rustix::fs::fstatfs(file)?.f_type;
    Ok(if IN_MEMORY.iter().any(|magic| i64::from(*magic) == kind) { Readers::AllInMemory } else { Readers::All })
}

fn file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let told = |error: io::Error| format!("the secret file {shown} cannot be read: {error}");
    let file = fs::File::open(path).map_err(told)?;
    if readers(&file).map_err(told)? == Readers::All {
        return Err(format!("the secret file {shown} can be read by everybody: run `chmod o-r {shown}`"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > LONGEST {
        return Err(format!("the secret file {shown} is larger than {LONGEST} bytes"));
    }
    std::str::from_utf8(&bytes).map(Secret::new).map_err(|_| format!("the secret file {shown} is no text"))
}

/// Runs a program without a shell, with next to no environment, in a process group of its own; what it says on stderr is not
/// looked at, as it may name secrets.
fn command(words: &[String], limit: Duration) -> Result<Secret, String> {
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, variable(name)?))));
    let mut child = command.spawn().map_err(|error| format!("the command `{program}` cannot be started: {error}"))?;
    let output = output(&mut child, Instant::now() + limit).map_err(|error| format!("the command `{program}` cannot be read: {error}"));
    if !matches!(output, Ok(Output::Whole(_))) {
        // The program, and what it started.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    let status = child.wait().map_err(|error| format!("the command `{program}`: {error}"))?;
    match output? {
        Output::Late => Err(format!("the command `{program}` did not end within {} s", limit.as_secs())),
        Output::TooLong => Err(format!("the command `{program}` printed more than {LONGEST} bytes")),
        Output::Whole(_) if !status.success() => Err(format!("the command `{program}` failed ({status})")),
        Output::Whole(bytes) => {
            std::str::from_utf8(&bytes).map(Secret::new).map_err(|_| format!("the command `{program}` did not print text"))
        }
    }
}

enum Output {
    Whole(Vec<u8>),
    Late,
    TooLong,
}

/// What a program printed until it ended. Not until its output was closed: something that it started may hold that for ever.
fn output(child: &mut Child, deadline: Instant) -> io::Result<Output> {
    const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let pid = Pid::from_child(child);
    let mut pipe = child.stdout.take().expect("it was piped");
    let (mut bytes, mut part, mut open) = (Vec::new(), [0; 4096], true);
    loop {
        // Asked before the output is looked at: nothing that the program itself printed comes after that.
        let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)?.is_some();
        let ready = if open {
            poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(if ended { &NOW } else { &TURN }))? > 0
        } else {
            std::thread::sleep(Duration::from_millis(10));
            false
        };
        match (ready, ended) {
            (true, _) => match pipe.read(&mut part)? {
                0 => open = false,
                count => bytes.extend_from_slice(&part[..count]),
            },
            (false, true) => return Ok(Output::Whole(bytes)),
            (false, false) if Instant::now() > deadline => return Ok(Output::Late),
            (false, false) => {}
        }
        if bytes.len() > LONGEST {
            return Ok(Output::TooLong);
        }
        if ready && Instant::now() > deadline {
            return Ok(Output::Late);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn run(arguments: &[&str]) -> Result<String, String> {
        command(&words(arguments), LIMIT).map(|secret| secret.expose().to_owned())
    }

    fn shell(script: &str, limit: Duration) -> Result<String, String> {
        command(&words(&["/bin/sh", "-c", script]), limit).map(|secret| secret.expose().to_owned())
    }

    fn told(reference: &SecretRef) -> String {
        reference.resolve().expect("a secret").expose().to_owned()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn k5_a_command_is_a_list_of_words_and_no_shell_reads_them() {
        assert_eq!(run(&["/bin/echo", "-n", "a; echo $HOME `id` | cat > x"]), Ok("a; echo $HOME `id` | cat > x".to_owned()));
        assert!(run(&[]).is_err());
        assert!(run(&["/nonexistent/program"]).expect_err("not there").contains("cannot be started"));
        assert!(run(&["/bin/false"]).expect_err("it fails").contains("failed"));
    }

    #[test]
    fn k5_a_command_sees_no_environment_but_path_and_home() {
        let printed = run(&["/usr/bin/env"]).expect("variables");
        let names: Vec<&str> = printed.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        assert!(names.iter().all(|name| ["PATH", "HOME"].contains(name)), "{names:?}");
    }

    #[test]
    fn k5_a_command_is_stopped_at_its_limit_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pid, began) = (folder.path().join("pid"), Instant::now());
        let script = format!("echo partial; sleep 600 & echo $! > {}; wait", pid.display());
        let why = shell(&script, Duration::from_millis(300)).expect_err("too slow");
        assert!(why.contains("did not end within"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(5));
        let pid = fs::read_to_string(&pid).expect("a pid");
        let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // Gone, or waiting to be buried by whoever inherited it.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(Instant::now() < deadline, "the grandchild lives: {}", state());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn k5_something_that_a_command_leaves_behind_holds_nothing_up() {
        let began = Instant::now();
        let printed = shell("echo hush; exec 2>&1; (trap '' TERM HUP; sleep 3) & exit 0", LIMIT);
        assert_eq!(printed, Ok("hush\n".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn k5_a_command_that_prints_too_much_or_no_text_is_refused() {
        let why = shell("head -c 65537 /dev/zero | tr '\\0' x", LIMIT).expect_err("too long");
        assert!(why.contains("printed more than 65536 bytes"), "{why}");
        assert!(shell("yes", LIMIT).expect_err("endless").contains("printed more than"));
        assert_eq!(shell("head -c 65536 /dev/zero | tr '\\0' x", LIMIT).map(|text| text.len()), Ok(65536));
        assert!(shell("printf '\\377'", LIMIT).expect_err("no text").contains("did not print text"));
        let why = shell("echo s3cr3t >&2; exit 1", LIMIT).expect_err("it fails");
        assert!(!why.contains("s3cr3t"), "{why}");
    }

    #[test]
    fn k6_a_rotated_file_is_read_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let reference = SecretRef::File(path.clone());
        write(&path, "one\n", 0o600);
        assert_eq!(told(&reference), "one");
        // In place.
        write(&path, "two", 0o600);
        assert_eq!(told(&reference), "two");
        // By rename.
        let next = folder.path().join("next");
        write(&next, "three\r\n", 0o600);
        fs::rename(&next, &path).expect("renamed");
        assert_eq!(told(&reference), "three");
        // By swapping the symlink to the folder, as Kubernetes does.
        let volume = folder.path().join("volume");
        fs::create_dir_all(&volume).expect("a folder");
        for (version, secret) in [("..1", "four"), ("..2", "five")] {
            fs::create_dir(volume.join(version)).expect("a folder");
            write(&volume.join(version).join("secret"), secret, 0o400);
            symlink(version, volume.join("..next")).expect("a link");
            fs::rename(volume.join("..next"), volume.join("..data")).expect("swapped");
            let _ = symlink("..data/secret", volume.join("secret"));
            assert_eq!(told(&SecretRef::File(volume.join("secret"))), secret);
        }
    }

    #[test]
    fn k4_a_secret_file_that_everybody_can_read_is_refused_on_a_disk_and_told_of_in_memory() {
        // A build folder is on a disk, a temporary one need not be.
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let path = disk.path().join("secret");
        write(&path, "hush", 0o604);
        let why = SecretRef::File(path.clone()).resolve().expect_err("refused");
        assert!(why.contains(&format!("chmod o-r {}", path.display())), "{why}");
        write(&path, "hush", 0o640);
        assert_eq!(told(&SecretRef::File(path)), "hush");
        let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return };
        let path = memory.path().join("secret");
        write(&path, "hush", 0o644);
        assert_eq!(readers(&fs::File::open(&path).expect("a file")).ok(), Some(Readers::AllInMemory));
        assert_eq!(told(&SecretRef::File(path)), "hush");
    }

    #[test]
    fn what_is_not_a_part_of_a_secret_is_named_and_the_secret_is_not() {
        let told = |secret: &str| doubts(secret).join("; ");
        for (secret, word) in [
            ("Bearer odt_s3cr3t", "`Bearer`"),
            ("bearer  odt_s3cr3t", "`Bearer`"),
            ("token odt_s3cr3t", "`token`"),
            ("Basic b2R0X3MzY3IzdA==", "`Basic`"),
            ("Authorization: Bearer odt_s3cr3t", "`Authorization:`"),
            ("\"odt_s3cr3t\"", "quotes"),
            ("'Bearer odt_s3cr3t'", "`Bearer`"),
            ("\u{feff}odt_s3cr3t", "byte order mark"),
            (" odt_s3cr3t", "blanks"),
            ("odt_s3cr3t\t", "blanks"),
            ("odt_s3cr3t\n", "empty lines"),
            ("odt_s3cr3t\nodt_0ther", "line break"),
            ("odt_\u{200b}s3cr3t", "not seen"),
            ("odt_s3c\u{a0}r3t", "not seen"),
            ("odt_s3c\0r3t", "not seen"),
        ] {
            let told = told(secret);
            assert!(told.contains(word), "{secret:?}: {told}");
            assert!(!told.contains("s3c") && !told.contains("r3t") && !told.contains("odt_"), "{told}");
        }
        for well in [
            "odt_s3cr3t",
            "Bearer",
            "tokenless",
            "correct horse battery staple",
            "\"",
            "pässwörd",
            "-----BEGIN KEY-----\nAA\n-----END KEY-----",
        ] {
            assert_eq!(told(well), "", "{well}");
        }
    }

    #[test]
    fn an_empty_or_endless_file_is_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        for (text, why) in [("".to_owned(), "empty"), ("\n".to_owned(), "empty"), ("x".repeat(LONGEST + 1), "larger than")] {
            write(&path, &text, 0o600);
            assert!(SecretRef::File(path.clone()).resolve().expect_err("no secret").contains(why));
        }
        write(&path, &"x".repeat(LONGEST), 0o600);
        assert_eq!(told(&SecretRef::File(path)).len(), LONGEST);
    }
}
