//! What can happen, and random sequences of it.

use proptest::prelude::*;
use tributary::store::Decision;
use tributary_connectors::model::{Severity, State};

use super::tool::{RECORDS, Told};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Map,
    Unmap,
    Ignore,
    Restore,
    Delete,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The tool lists this finding so.
    Put(u8, Told),
    /// It no longer lists it.
    Drop(u8),
    /// It lists it under another key, or all of them.
    Rename(u8),
    RenameAll,
    /// It lists some of a record, or loses all that is of it.
    Fill(u8),
    Clear(u8),
    /// It lists many, or loses many.
    PutMany(u8),
    DropMany,
    List(u8),
    Unlist(u8),
    /// It lists many records, or loses them.
    ListMany,
    UnlistMany,
    Discover,
    Sync(bool),
    /// A full one whose lists are no proof, though they are read to their end.
    Incomplete,
    /// A full one; the tool explains that much has changed.
    Explained,
    /// One list breaks at this page.
    Broken(u8, usize),
    /// The process dies at this page of this list, and starts again.
    Crash(u8, usize),
    Act(u8, Act),
    Triage(u8, Option<Decision>),
    Least(Severity),
    AutoMap(bool),
    Reset,
    Approve,
    Reopen,
}

fn told() -> impl Strategy<Value = Told> {
    let severity = prop_oneof![Just(Severity::Low), Just(Severity::High), Just(Severity::Unknown)];
    let state =
        prop_oneof![4 => Just(State::Open), 1 => Just(State::Fixed), 1 => Just(State::RiskAccepted), 1 => Just(State::FalsePositive)];
    (0..RECORDS, severity, state).prop_map(|(record, severity, state)| Told { record, severity, state })
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![Just(Act::Map), Just(Act::Unmap), Just(Act::Ignore), Just(Act::Restore), Just(Act::Delete)];
    let decision = prop_oneof![Just(None), Just(Some(Decision::FalsePositive)), Just(Some(Decision::WontFix))];
    prop_oneof![
        6 => (0..12_u8, told()).prop_map(|(number, told)| Step::Put(number, told)),
        3 => (0..12_u8).prop_map(Step::Drop),
        3 => (0..12_u8).prop_map(Step::Rename),
        1 => Just(Step::RenameAll),
        1 => (0..RECORDS).prop_map(Step::PutMany),
        1 => Just(Step::DropMany),
        1 => (0..RECORDS).prop_map(Step::List),
        1 => (0..RECORDS).prop_map(Step::Unlist),
        2 => Just(Step::Discover),
        5 => any::<bool>().prop_map(Step::Sync),
        2 => Just(Step::Incomplete),
        1 => Just(Step::Explained),
        1 => Just(Step::ListMany),
        1 => Just(Step::UnlistMany),
        2 => broken(),
        1 => (0..RECORDS).prop_map(Step::Fill),
        1 => (0..RECORDS).prop_map(Step::Clear),
        2 => (0..RECORDS, 0..3_usize).prop_map(|(scope, page)| Step::Crash(scope, page)),
        3 => (0..RECORDS, act).prop_map(|(record, act)| Step::Act(record, act)),
        3 => (0..12_u8, decision).prop_map(|(number, decision)| Step::Triage(number, decision)),
        1 => prop_oneof![Just(Severity::Info), Just(Severity::High)].prop_map(Step::Least),
        1 => any::<bool>().prop_map(Step::AutoMap),
        1 => Just(Step::Reset),
        1 => Just(Step::Approve),
        1 => Just(Step::Reopen),
    ]
}

/// What often happens in this order, so that it is not left to chance.
fn story() -> impl Strategy<Value = Vec<Step>> {
    let sync =
        || prop_oneof![4 => any::<bool>().prop_map(Step::Sync), 1 => Just(Step::Incomplete), 1 => Just(Step::Explained), 1 => broken()];
    let decision = prop_oneof![Just(None), Just(Some(Decision::FalsePositive)), Just(Some(Decision::WontFix))];
    let cleared = (0..RECORDS, sync(), sync(), sync())
        .prop_map(|(record, a, b, c)| vec![Step::Fill(record), Step::Sync(true), a, Step::Clear(record), b, c]);
    let seen_between = (0..RECORDS, sync(), sync(), sync()).prop_map(|(record, a, b, c)| {
        let begin = [Step::Fill(record), Step::Sync(true), Step::Clear(record), a];
        begin.into_iter().chain([Step::Fill(record), b, Step::Clear(record), Step::Sync(true), c]).collect()
    });
    let renamed = (0..12_u8, 0..12_u8, decision, sync(), sync(), sync()).prop_map(|(number, other, decision, a, b, c)| {
        vec![a, Step::Triage(number, decision), Step::Rename(number), b, Step::Triage(other, decision), Step::Rename(other), c]
    });
    let gone = (0..12_u8, told(), sync(), sync()).prop_map(|(number, told, a, b)| {
        vec![Step::Put(number, told), Step::Sync(true), Step::Drop(number), Step::Sync(true), Step::Put((number + 6) % 12, told), a, b]
    });
    let lost = (0..RECORDS, sync(), step()).prop_map(|(record, a, b)| {
        let begin = [Step::ListMany, Step::Discover, Step::UnlistMany, Step::Unlist(record), Step::Discover];
        begin.into_iter().chain([a, b, Step::Approve]).collect()
    });
    let held = (0..RECORDS, 0..RECORDS, sync(), step(), step()).prop_map(|(record, other, a, b, c)| {
        vec![Step::PutMany(record), Step::Sync(true), Step::DropMany, Step::RenameAll, a, b, Step::PutMany(other), c, Step::Approve]
    });
    prop_oneof![cleared, seen_between, renamed, gone, lost, held]
}

fn broken() -> impl Strategy<Value = Step> {
    (0..RECORDS, 0..3_usize).prop_map(|(scope, page)| Step::Broken(scope, page))
}

/// A sequence: single steps, and stories among them.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = step().prop_map(|step| vec![step]);
    let parts = prop::collection::vec(prop_oneof![4 => one, 1 => story()], 1..20);
    parts.prop_map(|parts| parts.into_iter().flatten().collect())
}
