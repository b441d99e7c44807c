//! A client that hides nothing: one request, one answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;
use tributary_simulator::Running;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Number of items in the list of this name.
    pub(crate) fn count(&self, list: &str) -> usize {
        self.json()[list].as_array().unwrap_or_else(|| panic!("no {list}: {self:?}")).len()
    }
}

/// Asks with one further header.
pub(crate) async fn ask(tool: &Running, method: &str, target: &str, header: &str, body: &str) -> Answer {
    let host = tool.url.strip_prefix("http://").unwrap().to_owned();
    let request = format!(
        "{method} {target} HTTP/1.0\r\nHost: {host}\r\n{header}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.to_lowercase(), text: body.to_owned() }
    })
    .await
    .unwrap()
}
