//! Assets, identities and rated companies: lists of them, and one with everything known of it.

use serde_json::{Map, Value};
use tributary_connectors::model::ItemKind;

use super::{Reader, Table};
use crate::store::Result;

/// The columns of a list of these, and by what it is ordered.
fn columns(kind: ItemKind) -> &'static [&'static str] {
    match kind {
        ItemKind::Identity => &["id", "connection", "kind", "name", "username", "status", "mfa", "admin", "last_login", "state"],
        ItemKind::ThirdParty => &["id", "connection", "name", "domain", "score", "grade", "scored_at", "state"],
        _ => &["id", "connection", "kind", "name", "record_key", "state", "last_seen"],
    }
}

impl Reader {
    /// The first things of a kind, by name: of a connection, or of all; in a state (`present`, `gone`), or in any.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn things(&self, kind: ItemKind, connection: Option<&str>, state: Option<&str>, limit: usize) -> Result<Table> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rest = format!(
            "from {} where (?1 is null or connection = ?1) and (?2 is null or state = ?2) order by connection, name, id limit ?3",
            kind.plural()
        );
        self.table(columns(kind), &rest, &[&connection, &state, &limit])
    }

    /// One thing, as an object. What it is a member of, and its members, come with an identity; how it was rated with a company.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn thing(&self, kind: ItemKind, id: &str) -> Result<Option<Value>> {
        let found = self.objects(&format!("select * from {} where id = ?1", kind.plural()), &[&id])?.pop();
        let Some(mut thing) = found else { return Ok(None) };
        let list = |rows: Vec<Map<String, Value>>| rows.into_iter().map(Value::Object).collect::<Value>();
        match kind {
            ItemKind::Identity => {
                thing.insert("member_of".to_owned(), list(self.memberships(id, "member_key", "container_key")?));
                thing.insert("members".to_owned(), list(self.memberships(id, "container_key", "member_key")?));
            }
            ItemKind::ThirdParty => {
                let sql =
                    "select at, factor, score, grade, operation from third_party_scores where third_party_id = ?1 order by at, factor";
                thing.insert("history".to_owned(), list(self.objects(sql, &[&id])?));
            }
            _ => {}
        }
        Ok(Some(thing.into()))
    }

    /// The present memberships in which an identity stands on one side, with the name of what is on the other.
    fn memberships(&self, id: &str, side: &str, other: &str) -> Result<Vec<Map<String, Value>>> {
        let sql = format!(
            "select m.kind, m.{other} as key, o.name, m.label, m.vendor_status, m.first_seen from identity_rows i
             join membership_rows m on m.connection_id = i.connection_id and m.{side} = i.key and m.state = 'present'
             left join identity_rows o on o.connection_id = i.connection_id and o.key = m.{other}
             where i.id = ?1 order by m.kind, o.name, m.{other}"
        );
        self.objects(&sql, &[&id])
    }
}
