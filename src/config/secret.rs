//! References to secrets, resolved only when a connection is opened.

use std::{
    fmt, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const LONGEST: u64 = 64 << 10;

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
    Literal(String),
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
    /// The secret itself.
    pub(crate) fn resolve(&self) -> Result<String, String> {
        let secret = match self {
            SecretRef::Literal(secret) => secret.clone(),
            SecretRef::Env(name) => variable(name).ok_or_else(|| format!("the environment variable `{name}` is not set, or empty"))?,
            SecretRef::File(path) => file(path)?,
            SecretRef::Credential(name) => {
                let folder = variable("CREDENTIALS_DIRECTORY")
                    .ok_or("`CREDENTIALS_DIRECTORY` is not set: systemd sets it for units with `LoadCredential=`")?;
                file(&Path::new(&folder).join(name))?
            }
            SecretRef::Command(words) => command(words)?,
        };
        let secret = secret.strip_suffix('\n').map(|cut| cut.strip_suffix('\r').unwrap_or(cut)).unwrap_or(&secret);
        if secret.is_empty() { Err("it is empty".to_owned()) } else { Ok(secret.to_owned()) }
    }
}

fn file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let told = |error: std::io::Error| format!("the secret file {shown} cannot be read: {error}");
    let metadata = fs::metadata(path).map_err(told)?;
    let volatile = ["/run", "/dev/shm", "/var/run"].iter().any(|folder| path.starts_with(folder));
    if metadata.permissions().mode() & 0o004 != 0 && metadata.is_file() {
        if !volatile {
            return Err(format!("the secret file {shown} can be read by everybody: run `chmod o-r {shown}`"));
        }
        tracing::warn!(file = %shown, "the secret file can be read by everybody on this machine");
    }
    let mut text = String::new();
    fs::File::open(path).map_err(told)?.take(LONGEST).read_to_string(&mut text).map_err(told)?;
    Ok(text)
}

fn command(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, variable(name)?))));
    let mut child = command.spawn().map_err(|error| format!("the command `{program}` cannot be started: {error}"))?;
    let mut output = child.stdout.take().expect("it was piped").take(LONGEST);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("the command `{program}` did not end within 10 s"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        return Err(format!("the command `{program}` failed ({status})"));
    }
    reader.join().ok().and_then(Result::ok).ok_or_else(|| format!("the command `{program}` did not print text"))
}
