//! The simulated tools, each in a process of its own.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

use tributary_simulator::{Change, Size, VENDORS, start_any};

/// How one tool is measured.
pub(crate) struct Tool {
    pub(crate) connector: &'static str,
    pub(crate) title: &'static str,
    /// Product records for so many findings.
    pub(crate) records: fn(usize) -> usize,
    /// Lists that are walked side by side.
    pub(crate) connections: usize,
    /// Findings that are stored together.
    pub(crate) page: usize,
    /// Whether a second sync asks only for what changed.
    pub(crate) incremental: bool,
    /// Whether its own waits (a budget of requests, an export in preparation) are left out.
    pub(crate) waits: bool,
    /// The body of requests that have one.
    pub(crate) post: &'static str,
}

pub(crate) static TOOLS: [Tool; 3] = [
    Tool {
        connector: "dependency_track",
        title: "Dependency-Track: a list per project, 500 findings a page, 4 lists at once; no limit of requests",
        records: |_| 40,
        connections: 4,
        page: 500,
        incremental: false,
        waits: false,
        post: "",
    },
    Tool {
        connector: "snyk",
        title: "Snyk: two organizations, 250 findings a project, 100 a page; without its limit of 1620 requests a minute",
        // A project's versions are asked for at once, and a project has some hundred issues.
        records: |findings| findings / 250,
        connections: 2,
        page: 100,
        incremental: true,
        waits: true,
        post: r#"{"includeDescription":true,"includeIntroducedThrough":false}"#,
    },
    Tool {
        connector: "tenable",
        title: "Tenable: one export in chunks of 50 hosts, about 1000 findings; without the waits for its preparation",
        records: |_| 40,
        connections: 1,
        page: 1000,
        incremental: true,
        waits: true,
        post: "",
    },
];

impl Tool {
    pub(crate) fn find(connector: &str) -> Option<&'static Tool> {
        TOOLS.iter().find(|tool| tool.connector == connector)
    }

    /// Starts it in a process of its own.
    pub(crate) fn start(&self, findings: usize) -> Simulated {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", self.connector, &findings.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut answers = BufReader::new(output).lines();
        let told: Vec<String> = answers.next().unwrap().unwrap().split('\t').map(str::to_owned).collect();
        let (url, fields) = told.split_first().unwrap();
        let fields = fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        Simulated { connector: self.connector, url: url.clone(), fields, child, input, answers }
    }
}

/// The process: prints its address and fields, then obeys a word on each line.
pub(crate) async fn serve(tool: &Tool, findings: usize) {
    let make = VENDORS.iter().find(|(id, _)| *id == tool.connector).unwrap().1;
    let size = Size { records: (tool.records)(findings), findings, seed: 5 };
    let running = Arc::new(start_any(make(size), 0).await.unwrap());
    let fields: Vec<String> = running.vendor.fields(&running.url).iter().map(|(name, value)| format!("\t{name}\t{value}")).collect();
    println!("{}{}", running.url, fields.concat());
    let mut told = 0;
    let obey = move || {
        for word in std::io::stdin().lines().map_while(Result::ok) {
            if word == "step" {
                running.vendor.step(&Change::ONE_PERCENT);
                println!("moved");
            } else {
                let log = running.log();
                println!("{}", log.len() - told);
                log[told..].iter().for_each(|line| println!("{} {}", line.method, line.target));
                told = log.len();
            }
        }
    };
    tokio::task::spawn_blocking(obey).await.unwrap();
}

/// A tool that is up. It ends when this is dropped.
pub(crate) struct Simulated {
    connector: &'static str,
    pub(crate) url: String,
    pub(crate) fields: Vec<(String, String)>,
    child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Simulated {
    /// A configuration of this connection alone.
    pub(crate) fn config(&self, database: &str) -> String {
        format!("[store]\nurl = \"sqlite:{database}\"\n\n{}", self.connection("b"))
    }

    /// The connection.
    pub(crate) fn connection(&self, name: &str) -> String {
        let (connector, url) = (self.connector, &self.url);
        let mut text = format!("[connections.{name}]\nconnector = \"{connector}\"\nlocation = \"{url}\"\n[connections.{name}.fields]\n");
        self.fields.iter().for_each(|(name, value)| text.push_str(&format!("{name} = \"{value}\"\n")));
        text
    }

    /// 1 % changed, 1 % gone, 1 % new.
    pub(crate) fn step(&mut self) {
        self.tell("step");
        self.answer();
    }

    /// Every request since this was asked last: method and target.
    pub(crate) fn log(&mut self) -> Vec<(String, String)> {
        self.tell("log");
        let count: usize = self.answer().parse().unwrap();
        (0..count).map(|_| self.answer().split_once(' ').map(|(method, target)| (method.to_owned(), target.to_owned())).unwrap()).collect()
    }

    fn tell(&mut self, word: &str) {
        self.input.write_all(format!("{word}\n").as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        self.answers.next().unwrap().unwrap()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
