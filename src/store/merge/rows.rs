//! The rows of findings: what is inserted, moved and kept as history.

use rusqlite::{params, params_from_iter};
use tributary_connectors::model::{Finding, State};

use super::{Before, Merge, TextCache};
use crate::store::{
    PreparedFinding, Result, carry,
    finding_columns::{self as columns, Value, number, text, text_or_null},
    history::{self, event_row},
    raws, row,
};

impl Merge<'_, '_> {
    fn text(&mut self, row: &PreparedFinding) -> Result<i64> {
        if let Some(id) = self.texts.texts.get(&row.text_hash) {
            return Ok(*id);
        }
        let finding = &row.finding;
        self.tx
            .prepare_cached(
                "insert into texts (hash, description, remediation, reference_urls) values (?1, ?2, ?3, ?4) on conflict (hash) do nothing",
            )?
            .execute(params![row.text_hash, finding.description, finding.remediation, row.lists.reference_urls])?;
        let id = self.tx.prepare_cached("select id from texts where hash = ?1")?.query_row([&row.text_hash], |row| row.get(0))?;
        TextCache::keep(&mut self.texts.texts, &row.text_hash, id);
        Ok(id)
    }

    /// The list of CVE ids of a finding, kept once with what is in it.
    fn cves(&mut self, row: &PreparedFinding) -> Result<Option<i64>> {
        let cve = row.lists.cve.as_str();
        if row.finding.cve.is_empty() {
            return Ok(None);
        }
        if let Some(id) = self.texts.cves.get(cve) {
            return Ok(Some(*id));
        }
        let hash = row::hash_of_text(cve);
        let new = self
            .tx
            .prepare_cached("insert into cve_lists (hash, cve) values (?1, ?2) on conflict (hash) do nothing")?
            .execute(params![hash, cve])?;
        let id = self.tx.prepare_cached("select id from cve_lists where hash = ?1")?.query_row([&hash], |row| row.get(0))?;
        for cve in row.finding.cve.iter().filter(|_| new == 1) {
            self.tx
                .prepare_cached("insert into cve_members (cve, list_id) values (?1, ?2) on conflict (cve, list_id) do nothing")?
                .execute(params![cve.to_uppercase(), id])?;
        }
        TextCache::keep(&mut self.texts.cves, cve, id);
        Ok(Some(id))
    }

    /// Inserts a finding, unless a row has its place already. Returns its row.
    pub(super) fn insert(&mut self, row: &PreparedFinding, record_id: i64, collision: i64) -> Result<Option<i64>> {
        let (text_id, cve_list_id) = (self.text(row)?, self.cves(row)?);
        let place = if self.keep_raw { self.blocks.place(self.tx, row)? } else { None };
        let finding = &row.finding;
        let closed_at = (finding.state != State::Open).then(|| self.closed_at(finding));
        let added: [Value<'_>; columns::INSERTED.len()] = [
            text(&row.id.text),
            row.id.hash.into(),
            collision.into(),
            self.lease.connection_id.into(),
            text(&finding.key),
            self.at.into(),
            number(closed_at),
            self.page.pass.scope_id.into(),
            record_id.into(),
            text_id.into(),
            number(cve_list_id),
            row.digest.into(),
            row.volatile_digest.into(),
            text_or_null(row.fingerprint.as_deref()),
            number(row.lineage),
            self.at.into(),
            number(place.map(|place| place.block)),
            number(place.map(|place| place.at)),
            number(place.map(|place| place.length)),
        ];
        let told = columns::changing(finding, &row.lists).into_iter().chain(columns::volatile(finding, &row.lists));
        let inserted = self.tx.prepare_cached(&columns::INSERT)?.execute(params_from_iter(added.into_iter().chain(told)))?;
        if inserted == 0 {
            return Ok(None);
        }
        let seq = self.tx.last_insert_rowid();
        if let Some(place) = place {
            self.blocks.holds(place.block, seq);
        }
        // In a scope that was never read to its end nothing is gone yet.
        if let Some(lineage) = row.lineage.filter(|_| !self.page.mostly_new) {
            carry::arrived(self.tx, seq, self.page.pass.scope_id, record_id, lineage)?;
        }
        Ok(Some(seq))
    }

    /// Keeps the item of a finding that has a row.
    fn raw(&mut self, before: &Before, row: &PreparedFinding) -> Result<()> {
        if !self.keep_raw {
            return Ok(());
        }
        let Some(place) = self.blocks.place(self.tx, row)? else { return Ok(()) };
        if let Some(block) = before.raw_block {
            self.blocks.leaves(block, before.seq);
        }
        self.blocks.holds(place.block, before.seq);
        raws::points_to(self.tx, before.seq, place)
    }

    /// Moves the columns whose move is no change.
    pub(super) fn touch(&mut self, before: &Before, row: &PreparedFinding) -> Result<()> {
        let added: [Value<'_>; columns::TOUCHED.len()] = [self.page.pass.scope_id.into(), row.volatile_digest.into(), number(row.lineage)];
        let told = columns::volatile(&row.finding, &row.lists);
        let which = [Value::from(before.seq)];
        self.tx.prepare_cached(&columns::TOUCH)?.execute(params_from_iter(added.into_iter().chain(told).chain(which)))?;
        self.moved(before)?;
        if before.volatile_digest != row.volatile_digest { self.raw(before, row) } else { Ok(()) }
    }

    /// Since when a finding that is met closed is closed: by the vendor's word, which may not lie ahead.
    fn closed_at(&self, finding: &Finding) -> i64 {
        finding.vendor_closed_at.map_or(self.at, |at| at.as_microsecond().min(self.at))
    }

    pub(super) fn update(&mut self, before: &Before, row: &PreparedFinding, record_id: i64) -> Result<()> {
        self.history(before, row, record_id)?;
        let (text_id, cve_list_id) = (self.text(row)?, self.cves(row)?);
        let finding = &row.finding;
        let added: [Value<'_>; columns::UPDATED.len()] = [
            self.page.pass.scope_id.into(),
            record_id.into(),
            text_id.into(),
            number(cve_list_id),
            row.digest.into(),
            row.volatile_digest.into(),
            text_or_null(row.fingerprint.as_deref()),
            number(row.lineage),
            self.at.into(),
        ];
        let told = columns::changing(finding, &row.lists).into_iter().chain(columns::volatile(finding, &row.lists));
        let closed_at = (before.source_state == State::Open.as_str()).then(|| self.closed_at(finding));
        let which = [Value::from(finding.state == State::Open), number(closed_at), before.seq.into()];
        self.tx.prepare_cached(&columns::UPDATE)?.execute(params_from_iter(added.into_iter().chain(told).chain(which)))?;
        self.moved(before)?;
        if before.volatile_digest != row.volatile_digest { self.raw(before, row) } else { Ok(()) }
    }

    /// What another list delivers than before was seen, whatever the list missed that it stood in.
    fn moved(&self, before: &Before) -> Result<()> {
        if before.scope_id != self.page.pass.scope_id {
            history::seen(self.tx, before.seq)?;
        }
        Ok(())
    }

    /// One event for each column that the history keeps.
    fn history(&self, before: &Before, row: &PreparedFinding, record_id: i64) -> Result<()> {
        let finding = &row.finding;
        let flag = |flag: Option<bool>| flag.map(|yes| if yes { "true" } else { "false" }.to_owned());
        let (severity, vendor_state, old_record, exploited, fix_available, fixed_version, record_key) = self
            .tx
            .prepare_cached(
                "select f.severity, f.vendor_state, f.record_id, f.exploited, f.fix_available, f.fixed_version, r.key
                 from finding_rows f join record_rows r on r.id = f.record_id where f.seq = ?1",
            )?
            .query_row([before.seq], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Option<bool>>(3)?,
                    row.get::<_, Option<bool>>(4)?,
                    row.get::<_, Option<String>>(5)?,
                    row.get::<_, String>(6)?,
                ))
            })?;
        let moved = [
            ("severity", Some(severity), Some(finding.severity.as_str().to_owned())),
            ("source_state", Some(before.source_state.clone()), Some(finding.state.as_str().to_owned())),
            ("vendor_state", vendor_state, finding.vendor_state.as_deref().map(str::to_owned)),
            ("exploited", flag(exploited), flag(finding.exploited)),
            ("fix_available", flag(fix_available), flag(finding.fix_available)),
            ("fixed_version", fixed_version, finding.fixed_version.as_deref().map(str::to_owned)),
            ("record_key", Some(record_key.clone()), Some(if old_record == record_id { record_key } else { finding.record.to_string() })),
        ];
        let open = State::Open.as_str();
        for (field, old, new) in moved {
            if old == new {
                continue;
            }
            let event = match (field, old.as_deref(), new.as_deref()) {
                ("source_state", _, Some(new)) if new == open => "reopened",
                ("source_state", Some(old), _) if old == open => "closed",
                _ => "changed",
            };
            event_row(self.tx, &before.id.text, self.at, Some(self.page.operation), event, Some((field, old.as_deref(), new.as_deref())))?;
        }
        Ok(())
    }
}
