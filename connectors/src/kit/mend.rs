//! Mending an item: a member that does not fit its wire type is left out, so that the rest of the item can be read.
//!
//! The member is found by the line and column of the JSON parser's error, which are walked to in the text. That keeps the fast
//! path free of bookkeeping, and each wire type's code in the program once.

use std::{fmt::Write, ops::Range};

use serde::de::DeserializeOwned;

/// Members left out of one item at most.
const MAX_MEMBERS_LEFT_OUT: usize = 8;
/// Attempts to read one item at most: a member may take several (null, absent, the object that it is required in).
const MAX_TRIES: usize = 4 * MAX_MEMBERS_LEFT_OUT;
/// Bytes of a path that is told at most.
const LONGEST_PATH: usize = 200;

/// A member that does not fit: its path, and what is wrong there.
pub(super) type Told = (String, String);

/// An item that was read without some of its members.
pub(super) struct Read<W> {
    pub(super) wire: W,
    /// The text that was read in the end, where it is not the vendor's own; and what was left out of it.
    pub(super) mended: Option<(String, Vec<Told>)>,
}

/// Reads an item, without the members that do not fit.
///
/// # Errors
/// Path and reason of what does not fit and cannot be left out.
pub(super) fn read<W: DeserializeOwned>(raw: &str) -> Result<Read<W>, Told> {
    let mut error = match serde_json::from_str(raw) {
        Ok(wire) => return Ok(Read { wire, mended: None }),
        Err(error) => error,
    };
    let mut mending = Mending::of(raw);
    loop {
        mending.leave_out(&error)?;
        match serde_json::from_str(&mending.text) {
            Ok(wire) => return Ok(Read { wire, mended: Some(mending.done()) }),
            Err(next) => error = next,
        }
    }
}

/// The path of the member at which a text does not fit, as `a.b[0]`, and the parser's reason without its line and column.
pub(crate) fn whereabouts(text: &str, error: &serde_json::Error) -> Told {
    let (at, reason) = (offset(text, error), reason(error));
    (told(&steps(&locate(text, at, &reason))), reason)
}

/// An item on the way to be read.
struct Mending {
    text: String,
    told: Vec<Told>,
    tries: usize,
    now: Option<Attempt>,
}

/// What is being tried for one member.
struct Attempt {
    /// Where the first error stood, and what it was.
    first: Told,
    /// The member that was changed last, and how.
    path: Vec<Step>,
    change: Change,
    reason: String,
}

/// What may be done to a member, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// Half a surrogate pair becomes U+FFFD, and of a member that is there twice the last one stays.
    Spell,
    Null,
    Absent,
}

impl Mending {
    fn of(raw: &str) -> Self {
        Mending { text: raw.to_owned(), told: Vec::new(), tries: 0, now: None }
    }

    /// Changes the text at the error.
    fn leave_out(&mut self, error: &serde_json::Error) -> Result<(), Told> {
        let (at, reason) = (offset(&self.text, error), reason(error));
        let nodes = locate(&self.text, at, &reason);
        let path = steps(&nodes);
        let spelling = reason == HALF_A_PAIR || reason.starts_with("duplicate field");
        let mut change = if spelling { Change::Spell } else { Change::Null };
        let (first, last) = match self.now.take() {
            Some(now) if now.is_still_wrong(&path, &reason) => (now.first, Some((now.path, now.change))),
            now => {
                self.told.extend(now.map(Attempt::told));
                ((told(&path), reason.clone()), None)
            }
        };
        if let Some((_, last)) = last.filter(|(last, _)| *last == path) {
            change = if last < Change::Null { Change::Null } else { Change::Absent };
        }
        // What was left out before, and turns out to be required, is what is wrong.
        let required = |left: &Told| reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) == Some(&*left.0);
        let first = if path.is_empty() { self.told.iter().find(|left| required(left)).cloned().unwrap_or(first) } else { first };
        self.tries += 1;
        let Some(node) = nodes.last().filter(|_| self.told.len() < MAX_MEMBERS_LEFT_OUT && self.tries <= MAX_TRIES) else {
            return Err(first);
        };
        change = self.apply(node, change);
        self.now = Some(Attempt { first, path, change, reason });
        Ok(())
    }

    /// Makes a change, or the next one where that changes nothing; the one that was made.
    fn apply(&mut self, node: &Node, change: Change) -> Change {
        let value = &self.text[node.value.clone()];
        if change == Change::Spell {
            let respelled = if node.again { None } else { whole_characters(value) };
            match respelled {
                Some(value) => self.text.replace_range(node.value.clone(), &value),
                None if node.again => self.without_earlier(node),
                None => return self.apply(node, Change::Null),
            }
            return Change::Spell;
        }
        if change == Change::Null && value != "null" && !matches!(node.step, Step::Element(_)) && !node.in_name {
            self.text.replace_range(node.value.clone(), "null");
            return Change::Null;
        }
        self.text.replace_range(node.with_comma(&self.text), "");
        Change::Absent
    }

    /// Takes the members of this one's name that stand before it out of its object.
    fn without_earlier(&mut self, node: &Node) {
        let bytes = self.text.as_bytes();
        let (mut at, mut earlier) = (skip_blanks(bytes, node.around + 1), Vec::new());
        while at < node.from {
            let name = end_of(bytes, at);
            let value = end_of(bytes, skip_blanks(bytes, skip_blanks(bytes, name) + 1));
            let next = skip_blanks(bytes, skip_blanks(bytes, value) + 1);
            if matches!(&node.step, Step::Member(own) if self.text[at..name] == format!("\"{own}\"")) {
                earlier.push(at..next);
            }
            at = next;
        }
        for member in earlier.into_iter().rev() {
            self.text.replace_range(member, "");
        }
    }

    fn done(self) -> (String, Vec<Told>) {
        let mut told = self.told;
        told.extend(self.now.map(Attempt::told));
        (self.text, told)
    }
}

impl Attempt {
    /// Whether an error after this attempt is about the same member, or comes of its absence.
    fn is_still_wrong(&self, path: &[Step], reason: &str) -> bool {
        if *path == *self.path {
            // An element that is gone leaves its place to the next one.
            return self.change != Change::Absent;
        }
        let missed = |name: &str| reason.starts_with("missing field") && reason.contains(&format!("`{name}`"));
        self.path.starts_with(path)
            && (reason == self.reason
                || matches!(&self.path[path.len()], Step::Member(name) if self.change == Change::Absent && missed(name)))
    }

    fn told(self) -> Told {
        let (first, mut reason) = self.first;
        if told(&self.path) != first {
            reason.push_str("; what it stands in is left out, too");
        }
        (first, reason)
    }
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

/// A value in a text, and where it stands in its object or list.
#[derive(Clone, Debug)]
struct Node {
    step: Step,
    /// Where its object or list begins.
    around: usize,
    /// Where its name begins, or the value itself.
    from: usize,
    value: Range<usize>,
    /// The error is in the member's name.
    in_name: bool,
    /// Its name was there before in the object.
    again: bool,
}

impl Node {
    /// The member with a comma beside it.
    fn with_comma(&self, text: &str) -> Range<usize> {
        let after = skip_blanks(text.as_bytes(), self.value.end);
        if text.as_bytes().get(after) == Some(&b',') {
            return self.from..after + 1;
        }
        let before = text[..self.from].trim_end_matches(BLANKS);
        before.strip_suffix(',').unwrap_or(before).len()..self.value.end
    }
}

const HALF_A_PAIR: &str = "half of a surrogate pair, which is no character";
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Where in the text the parser stopped.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let line = match error.line() {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    (line + error.column()).min(text.len())
}

fn reason(error: &serde_json::Error) -> String {
    let mut reason = error.to_string();
    if error.line() > 0 {
        reason.truncate(reason.rfind(" at line ").unwrap_or(reason.len()));
    }
    // In the text of an item every escape has its digits: only what they stand for can be wrong.
    if reason.ends_with("hex escape") { HALF_A_PAIR.to_owned() } else { reason }
}

/// The value at which the parser stopped, as the steps to it; none for the whole text. A parser stops behind a value that does
/// not fit, at the beginning of a list or an object, behind a name, and behind an object in which a member is missing.
fn locate(text: &str, at: usize, reason: &str) -> Vec<Node> {
    let mut walk = Walk { bytes: text.as_bytes(), at, path: Vec::new(), open: Vec::new() };
    // Other errors than these are made of a value that was read to its end, and told after what follows it.
    let early = ["missing field", "duplicate field", "invalid length", "invalid type", "recursion limit"];
    let in_name = walk.reach(!early.iter().any(|early| reason.starts_with(early)));
    let count = walk.path.len();
    let node = |(number, place): (usize, Place)| {
        let last = number + 1 == count;
        let step = place.name.clone().map_or(Step::Element(place.number), |name| Step::Member(text[name].to_owned()));
        let end = if last { end_of(text.as_bytes(), place.value) } else { place.value };
        let in_name = in_name && last;
        let again = in_name && reason.starts_with("duplicate field");
        Node { step, around: place.around, from: place.from, value: place.value..end, in_name, again }
    };
    walk.path.into_iter().enumerate().map(node).collect()
}

/// A walk through valid JSON to a position, each byte looked at once.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The steps to the present value.
    path: Vec<Place>,
    /// Where the lists and objects around it begin, and how many values each has had.
    open: Vec<(usize, usize)>,
}

/// As [`Node`], before anything is copied or looked for that is not needed on the way.
struct Place {
    name: Option<Range<usize>>,
    number: usize,
    around: usize,
    from: usize,
    value: usize,
}

impl Walk<'_> {
    /// Leaves the path to the value at which the parser stopped; whether that was in its name. An error that is told at the end
    /// of an object or a list, or behind the comma in one, is about the value before when `late` says so.
    fn reach(&mut self, late: bool) -> bool {
        let mut at = skip_blanks(self.bytes, 0);
        loop {
            let mut ended = match self.bytes.get(at) {
                Some(b'{' | b'[') if self.at <= at => return false,
                Some(b'{' | b'[') => {
                    self.open.push((at, 0));
                    at = skip_blanks(self.bytes, at + 1);
                    if !matches!(self.bytes.get(at), Some(b'}' | b']')) {
                        match self.enter(at) {
                            Ok(value) => at = value,
                            Err(in_name) => return in_name,
                        }
                        continue;
                    }
                    self.open.pop();
                    at + 1
                }
                _ => end_of(self.bytes, at),
            };
            // Behind a value: blanks, and then the next one or the end of what is around it.
            loop {
                at = skip_blanks(self.bytes, ended);
                if self.at <= at || self.open.is_empty() {
                    return false;
                }
                let Some(last) = self.path.pop() else { return false };
                match self.bytes.get(at) {
                    Some(b',') => {
                        at = skip_blanks(self.bytes, at + 1);
                        if self.at <= at && late {
                            self.path.push(last);
                            return false;
                        }
                        break;
                    }
                    Some(b'}' | b']') => {
                        self.open.pop();
                        ended = at + 1;
                        if self.at == ended && late {
                            self.path.push(last);
                            return false;
                        }
                    }
                    _ => return false,
                }
            }
            match self.enter(at) {
                Ok(value) => at = value,
                Err(in_name) => return in_name,
            }
        }
    }

    /// Steps to the value that begins here, with its name where it has one. `Err` when the parser stopped before the value:
    /// in the name, or not even there.
    fn enter(&mut self, from: usize) -> Result<usize, bool> {
        let Some((around, count)) = self.open.last_mut() else { return Err(false) };
        let (around, number) = (*around, *count);
        *count += 1;
        let begins_list = matches!(self.bytes.get(from), Some(b'{' | b'['));
        if self.at < from || (self.at == from && !begins_list) {
            return Err(false);
        }
        if self.bytes[around] == b'[' {
            self.path.push(Place { name: None, number, around, from, value: from });
            return Ok(from);
        }
        let end = end_of(self.bytes, from);
        let colon = skip_blanks(self.bytes, end);
        let value = skip_blanks(self.bytes, colon + 1);
        self.path.push(Place { name: Some(from + 1..end.max(from + 2) - 1), number, around, from, value });
        if self.at <= colon { Err(true) } else { Ok(value) }
    }
}

fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// Where the value that begins here ends, in valid JSON.
fn end_of(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_text(bytes, at),
            b'{' | b'[' => {
                (depth, at) = (depth + 1, at + 1);
                continue;
            }
            b'}' | b']' if depth > 0 => (depth, at) = (depth - 1, at + 1),
            b'}' | b']' => return at.max(start + 1),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            _ => at += bytes[at..].iter().take_while(|byte| !b",:]} \t\r\n".contains(byte)).count(),
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A JSON text with U+FFFD for each half of a surrogate pair that stands alone; `None` when there is none.
fn whole_characters(json: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut whole, mut at, mut changed) = (String::with_capacity(json.len()), 0, false);
    while let Some(character) = json[at..].chars().next() {
        let (high, low) = (unit(at), unit(at + 6));
        let length = match (high, low) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                (at, changed) = (at + 6, true);
                whole.push('\u{fffd}');
                continue;
            }
            (Some(_), _) => 6,
            (None, _) if character == '\\' => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
            (None, _) => character.len_utf8(),
        };
        whole.push_str(&json[at..at + length]);
        at += length;
    }
    changed.then_some(whole)
}

fn steps(nodes: &[Node]) -> Vec<Step> {
    nodes.iter().map(|node| node.step.clone()).collect()
}

/// A path as people write it; `.` for the whole item.
fn told(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        if text.len() > LONGEST_PATH {
            text.push('…');
            break;
        }
        match step {
            Step::Member(name) if text.is_empty() => text.push_str(name),
            Step::Member(name) => text.extend([".", name]),
            Step::Element(number) => write!(text, "[{number}]").unwrap_or_default(),
        }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}
