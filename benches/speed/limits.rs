//! The physical limits, each measured alone.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use rusqlite::{Connection, types::Value};
use tributary::store::Store;

use crate::{
    tool::{Simulated, Tool},
    wire,
};

/// What the parts of a sync take when each is all there is.
#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) download: Duration,
    pub(crate) parse: Duration,
    pub(crate) insert: Duration,
    pub(crate) requests: usize,
    /// Findings (and assets) in the answers, and bytes of those answers.
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Limits {
    /// Asks once more for everything that the last sync asked for, and inserts once more what it stored.
    pub(crate) async fn measure(tool: &Tool, simulated: &mut Simulated, databases: Option<(&Path, &Path)>) -> Limits {
        let requests = simulated.log();
        let mut limits = Limits { requests: requests.len(), ..Limits::default() };
        // Some at a time: a million findings are more than should be held at once.
        for some in requests.chunks(1000) {
            let started = Instant::now();
            let answers = download(tool, simulated, some).await;
            limits.download += started.elapsed();
            let started = Instant::now();
            for (target, body) in &answers {
                if let Some(items) = wire::parse(tool.connector, target, body) {
                    limits.items += items;
                    limits.bytes += body.len();
                }
            }
            limits.parse += started.elapsed();
        }
        // Nobody sent these requests but us.
        simulated.log();
        if let Some((from, to)) = databases {
            limits.insert = insert(from, to, tool.page);
        }
        limits
    }
}

async fn download(tool: &Tool, simulated: &Simulated, requests: &[(String, String)]) -> Vec<(String, Vec<u8>)> {
    let client = reqwest::Client::new();
    let field = |name: &str| simulated.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let (name, value) = match tool.connector {
        "snyk" => ("authorization", format!("token {}", field("secret"))),
        "tenable" => ("x-apikeys", format!("accessKey={};secretKey={}", field("access_key"), field("secret_key"))),
        _ => ("x-api-key", field("secret").to_owned()),
    };
    let (client, value) = (&client, &value);
    let sent = requests.iter().filter(|(method, _)| method == "GET" || !tool.post.is_empty()).map(|(method, target)| async move {
        let url = format!("{}{target}", simulated.url);
        let mut request = if method == "GET" { client.get(url) } else { client.post(url).body(tool.post) };
        request = request.header(name, value).header("content-type", "application/json");
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{target}: {}", answer.status());
        (target.clone(), answer.bytes().await.unwrap().to_vec())
    });
    stream::iter(sent).buffer_unordered(tool.connections).collect().await
}

/// Prepared inserts of the findings of one database, with their texts and raw items, into the same tables of an empty one; a
/// page is a transaction. Reading them is not measured.
fn insert(from: &Path, to: &Path, page: usize) -> Duration {
    let source = Connection::open(from).unwrap();
    drop(Store::open(to, true).unwrap());
    let target = Connection::open(to).unwrap();
    target
        .execute_batch(
            "pragma foreign_keys = off; pragma journal_mode = wal; pragma synchronous = normal; pragma temp_store = memory;
             pragma cache_size = -24000; pragma wal_autocheckpoint = 7500; delete from texts;",
        )
        .unwrap();
    // Generated columns are not among these.
    let columns = |table: &str| -> Vec<String> {
        let mut names = source.prepare(&format!("select name from pragma_table_info('{table}')")).unwrap();
        names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let rows = |sql: String, parameters: [i64; 2]| -> Vec<Vec<Value>> {
        let mut statement = source.prepare_cached(&sql).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map(parameters, |row| (0..width).map(|index| row.get(index)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let tables: Vec<(&str, String, String)> = [("texts", "id"), ("finding_rows", "seq"), ("raw_blocks", "id")]
        .into_iter()
        .map(|(table, key)| {
            let columns = columns(table);
            let (names, places) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
            (
                table,
                format!("select {names} from {table} where {key} > ?1 and {key} <= ?2 order by {key}"),
                format!("insert into {table} ({names}) values ({places})"),
            )
        })
        .collect();
    let last: i64 = source.query_row("select coalesce(max(seq), 0) from finding_rows", [], |row| row.get(0)).unwrap();
    let (mut took, mut seq, mut text, mut block) = (Duration::ZERO, 0, 0, 0);
    while seq < last {
        let upto = seq + page as i64;
        let texts: i64 = source
            .query_row("select coalesce(max(text_id), 0) from finding_rows where seq > ?1 and seq <= ?2", [seq, upto], |row| row.get(0))
            .unwrap();
        let blocks: i64 = source
            .query_row("select coalesce(max(raw_block), 0) from finding_rows where seq > ?1 and seq <= ?2", [seq, upto], |row| row.get(0))
            .unwrap();
        let batches: Vec<(&str, Vec<Vec<Value>>)> = tables
            .iter()
            .map(|(table, select, insert)| {
                let bounds = match *table {
                    "texts" => [text, texts.max(text)],
                    "raw_blocks" => [block, blocks.max(block)],
                    _ => [seq, upto],
                };
                (insert.as_str(), rows(select.clone(), bounds))
            })
            .collect();
        (seq, text, block) = (upto, texts.max(text), blocks.max(block));
        let started = Instant::now();
        target.execute_batch("begin immediate").unwrap();
        for (insert, rows) in &batches {
            let mut statement = target.prepare_cached(insert).unwrap();
            for row in rows {
                statement.execute(rusqlite::params_from_iter(row)).unwrap();
            }
        }
        target.execute_batch("commit").unwrap();
        took += started.elapsed();
    }
    took
}

/// Looks every finding up for its digest, in the order in which they came.
pub(crate) fn look_up(database: &Path) -> Duration {
    let reader = Connection::open(database).unwrap();
    reader.execute_batch("pragma cache_size = -24000").unwrap();
    let ids: Vec<(i64, String)> = reader
        .prepare("select id_hash, id from finding_rows order by seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut statement = reader.prepare("select seq, digest from finding_rows where id_hash = ?1 and id = ?2").unwrap();
    let started = Instant::now();
    for (hash, id) in &ids {
        let _: (i64, i64) = statement.query_row(rusqlite::params![hash, id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    }
    started.elapsed()
}
