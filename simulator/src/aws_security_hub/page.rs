//! `GetFindings`: one page of a listing, and the tokens that lead from page to page.

use serde_json::{Value, json};

use super::{AwsSecurityHub, query::Query, refusal::Refusal, world::Row};
use crate::{Fault, Faults};

impl AwsSecurityHub {
    /// One page of findings.
    pub(super) fn find(&self, body: &[u8], faults: &Faults) -> Result<String, Refusal> {
        let body = if body.is_empty() { b"{}".as_slice() } else { body };
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return Err(Refusal::front_door(400, "SerializationException", "Unexpected token in the request body."));
        };
        let mut world = self.world();
        let mut query = Query::read(body, &world.words, self.now()).map_err(Refusal::invalid)?;
        if faults.next("POST /findings", |fault| *fault == Fault::NoFilters).is_some() {
            query = query.everything();
        }
        let token =
            query.token.as_deref().map(Token::read).transpose()?.unwrap_or(Token { hash: query.hash, step: world.step, from: 0, page: 0 });
        if token.hash != query.hash {
            return Err(Refusal::invalid("Input Query has changed"));
        }
        let (size, is_first) = (query.size, query.token.is_none());
        let mut listing = world.listing(query, token.step, |place| self.sees(place.region)).ok_or_else(expired)?;
        // Pages after the first can be short, or empty with more to come.
        let full = match token.page % 13 {
            5 => 0,
            9 => size / 2,
            _ => size,
        };
        let to = token.from + full;
        listing.extend(to + 1, &world.words, |row| &world.rows[row as usize].columns);
        let mut range = token.from.min(listing.found.len())..to.min(listing.found.len());
        // Some listings say that there is more and then have an empty page.
        let is_more = listing.found.len() > to || listing.found.len() == to && full > 0 && token.hash % 2 == 0;
        let mut next = is_more.then_some(Token { from: to, page: token.page + 1, ..token });
        // Faults of items wait for a page that has items.
        let fault = faults.take(if range.is_empty() { "POST /list" } else { "POST /findings" });
        match fault {
            Some(Fault::NoRole) => (range, next) = (0..0, None),
            Some(Fault::DuplicatePage) if token.from > 0 => {
                range = token.from.saturating_sub(size)..token.from.min(listing.found.len());
                next = Some(Token { page: token.page + 1, ..token });
            }
            Some(Fault::RepeatedCursor) if !is_first => next = Some(token),
            Some(Fault::ExpiredCursor) if !is_first => {
                world.listings.push(listing);
                return Err(expired());
            }
            _ => {}
        }
        let rows: Vec<&Row> = listing.found[range].iter().map(|row| &world.rows[*row as usize]).filter(|row| row.listed).collect();
        let odd = match fault {
            Some(Fault::BadItem) => rows.first().map(|_| (0, "[1,2]".to_owned())),
            Some(Fault::UnknownEnum) => rows.iter().position(|row| row.state == Some("open")).map(|n| (n, odd_words(&rows[n].body))),
            _ => None,
        };
        let answer = answer(&rows, odd.as_ref(), next, token.hash);
        world.listings.push(listing);
        Ok(answer)
    }
}

/// A page's body. `odd`: a row that is replaced, with its place. Without a next page the token is null, empty or missing.
fn answer(rows: &[&Row], odd: Option<&(usize, String)>, next: Option<Token>, hash: u64) -> String {
    let mut answer = String::with_capacity(rows.iter().map(|row| row.body.len() + 1).sum::<usize>() + 100);
    answer.push_str(r#"{"Findings":["#);
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            answer.push(',');
        }
        answer.push_str(odd.filter(|(at, _)| *at == n).map_or(&row.body, |(_, body)| body));
    }
    answer.push(']');
    match (next, hash % 3) {
        (Some(next), _) => answer.push_str(&format!(r#","NextToken":"{}""#, next.text())),
        (None, 0) => answer.push_str(r#","NextToken":null"#),
        (None, 1) => answer.push_str(r#","NextToken":"""#),
        _ => {}
    }
    answer.push('}');
    answer
}

/// A finding with a severity and a state that nobody has seen before.
fn odd_words(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).expect("our own JSON");
    body["Severity"]["Label"] = json!("APOCALYPTIC");
    body["Workflow"]["Status"] = json!("PONDERING");
    body.to_string()
}

fn expired() -> Refusal {
    Refusal::invalid("Invalid parameter 'NextToken': the token has expired.")
}

/// A place in a listing, bound to the parameters and to the step of its first page.
#[derive(Clone, Copy, Debug)]
struct Token {
    hash: u64,
    step: u64,
    from: usize,
    page: usize,
}

impl Token {
    fn text(self) -> String {
        format!("U2VjSHVi{:016x}{:08x}{:08x}{:08x}", self.hash, self.step, self.from, self.page)
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let number = |from: usize, to: usize| {
            let digits = text.strip_prefix("U2VjSHVi").filter(|digits| digits.len() == 40).and_then(|digits| digits.get(from..to));
            digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(|| Refusal::invalid("Invalid parameter 'NextToken'."))
        };
        let small = |from, to| number(from, to).map(|number| usize::try_from(number).unwrap_or(0));
        Ok(Token { hash: number(0, 16)?, step: number(16, 24)?, from: small(24, 32)?, page: small(32, 40)? })
    }
}
