//! GraphQL over the kit's client: named operations, fields that only some servers know, and errors inside a 200 taken for
//! what they are.
//!
//! One unknown field or argument fails a whole query. So a vendor's documents stand in one file, checked against its schema
//! when compiled, and a line that ends in `#? Type` is sent only to a server whose introspection says that this type has the
//! line's first word as a field:
//!
//! ```graphql
//! query Issues($scan: ID!) {
//!   scan(id: $scan) {
//!     serial_number
//!     fingerprint #? Issue
//!   }
//! }
//! ```

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use graphql_client::QueryBody;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Error, ErrorKind, Excerpt, Result,
    kit::{Context, Http, mend::whereabouts},
};

/// Fields that a server knows, by type; an argument counts as `field.argument`.
#[derive(Debug, Default)]
pub struct Fields(HashMap<String, HashSet<String>>);

impl Fields {
    /// The fields that somebody knows without asking: pairs of type and field.
    pub fn known(known: &[(&str, &str)]) -> Self {
        let mut fields = Fields::default();
        for (kind, field) in known {
            fields.0.entry((*kind).to_owned()).or_default().insert((*field).to_owned());
        }
        fields
    }

    /// Whether this type has this field.
    pub fn has(&self, kind: &str, field: &str) -> bool {
        self.0.get(kind).is_some_and(|fields| fields.contains(field))
    }
}

/// One operation with its variables.
#[derive(Debug, Serialize)]
pub struct Operation<V> {
    query: String,
    variables: V,
    #[serde(rename = "operationName")]
    name: &'static str,
}

impl<V> Operation<V> {
    /// What `graphql_client` built, as a server with these fields understands it.
    pub fn fitting(body: QueryBody<V>, fields: &Fields) -> Self {
        Operation { query: fit(body.query, body.operation_name, fields), variables: body.variables, name: body.operation_name }
    }

    /// The operation's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// One operation of a document (a server validates all that it is sent), with the lines that a server with these fields knows.
pub fn fit(document: &str, name: &str, fields: &Fields) -> String {
    let own = |part: &&str| part.strip_prefix(name).is_some_and(|rest| rest.starts_with(['(', ' ', '{']));
    let text = document.split("query ").find(own).unwrap_or_default();
    let known = |line: &&str| {
        line.split_once("#?").is_none_or(|(line, kind)| {
            let field = line.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next();
            fields.has(kind.trim(), field.unwrap_or_default())
        })
    };
    let lines: Vec<&str> =
        text.trim_end().lines().filter(known).map(|line| line.split('#').next().unwrap_or_default().trim_end()).collect();
    format!("query {}", lines.join("\n"))
}

/// Asks the server which fields these types have. `None` when it refuses to tell; any other failure is one.
///
/// # Errors
/// As [`send`].
pub async fn introspect(http: &Http, cx: &Context, route: &'static str, types: &[&str]) -> Result<Option<Fields>> {
    let of = |kind: &&str| format!("  {kind}: __type(name: \"{kind}\") {{ fields(includeDeprecated: true) {{ name args {{ name }} }} }}\n");
    let query = format!("query Introspection {{\n{}}}", types.iter().map(of).collect::<String>());
    let operation = Operation { query, variables: json!({}), name: "Introspection" };
    let answer: HashMap<String, Option<Type>> = match send_many(http, cx, route, &operation).await {
        Ok(answer) => answer,
        Err(error) if refuses_introspection(&error.kind) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut fields = Fields::default();
    for (kind, found) in answer {
        let known = fields.0.entry(kind).or_default();
        for field in found.and_then(|found| found.fields).unwrap_or_default() {
            known.extend(field.args.iter().flatten().map(|argument| format!("{}.{}", field.name, argument.name)));
            known.insert(field.name);
        }
    }
    Ok(Some(fields))
}

/// Only a refusal that names introspection is one: after a passing failure the same server must not be taken for an older one.
fn refuses_introspection(kind: &ErrorKind) -> bool {
    let (ErrorKind::Refused { body, .. } | ErrorKind::Forbidden(body)) = kind else { return false };
    let text = body.to_string().to_lowercase();
    text.contains("introspect") || text.contains("__type")
}

/// Sends an operation and returns the value of its one root field; `None` when that is null.
///
/// # Errors
/// Besides those of the transport: `ErrorKind::NotAnApi` when nothing is at the endpoint, `ErrorKind::Forbidden` or
/// `ErrorKind::Unauthorized` when the answer's `errors` speak of it, else `ErrorKind::Refused` when there are any, and `ErrorKind::UnexpectedBody`
/// when there is no `data`. Data beside errors is half an answer and never returned.
pub async fn send<V: Serialize, T: DeserializeOwned>(
    http: &Http,
    cx: &Context,
    route: &'static str,
    operation: &Operation<V>,
) -> Result<Option<T>> {
    let mut roots: HashMap<String, Option<T>> = send_many(http, cx, route, operation).await?;
    Ok(roots.drain().find_map(|(_, value)| value))
}

/// Sends an operation and returns its root fields by name.
async fn send_many<V: Serialize, T: DeserializeOwned>(
    http: &Http,
    cx: &Context,
    route: &'static str,
    operation: &Operation<V>,
) -> Result<HashMap<String, Option<T>>> {
    let fail = |kind| http.cured(Error::new(format!("reading {} through POST {route}", operation.name), kind), None);
    let Envelope { data, errors } = match http.post(route, &[], operation).send::<Envelope>(cx).await {
        Ok(answer) => answer.body,
        Err(Error { kind: ErrorKind::Refused { status: status @ (404 | 405), .. }, .. }) => {
            return Err(fail(ErrorKind::NotAnApi(format!("status {status} where the GraphQL endpoint should be").into())));
        }
        Err(error) => return Err(error),
    };
    if let Some(errors) = errors.filter(|errors| !errors.is_empty()) {
        return Err(fail(refusal(&errors, |text| http.excerpt(text.as_bytes()))));
    }
    let shape = |path: &str, reason: String| fail(ErrorKind::UnexpectedBody { path: path.into(), reason: reason.into() });
    let data = data.ok_or_else(|| shape("data", "neither data nor errors in the answer".to_owned()))?;
    serde_json::from_str(data.get()).map_err(|error| {
        let (path, reason) = whereabouts(data.get(), &error);
        shape(&format!("data.{path}"), reason)
    })
}

/// What the `errors` of an answer mean. There is no standard: message, code and classification are searched for known words.
fn refusal(errors: &[Value], excerpt: impl Fn(&str) -> Excerpt) -> ErrorKind {
    let told = |error: &Value| error["message"].as_str().unwrap_or("an error without a message").to_owned();
    let text = excerpt(&errors.iter().take(3).map(told).collect::<Vec<_>>().join("; "));
    let words = errors.iter().map(|error| format!("{} {}", told(error), error["extensions"])).collect::<String>().to_lowercase();
    let says = |known: &[&str]| known.iter().any(|word| words.contains(word));
    if says(&["rate_limit_exceeded"]) {
        let seconds = errors.iter().find_map(|error| error["extensions"]["retryAfter"].as_f64());
        return ErrorKind::Throttled(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()));
    }
    if says(&["unauthenticated", "not authenticated"]) {
        ErrorKind::Unauthorized(text)
    } else if says(&["unauthorized", "unauthorised", "forbidden", "permission", "not authorized", "access denied"]) {
        ErrorKind::Forbidden(text)
    } else {
        ErrorKind::Refused { status: 200, body: text }
    }
}

/// Declares the named operations of a file of documents, checked against the vendor's schema (field names only: a test has to
/// do the rest).
macro_rules! operations {
    ($schema:tt, $documents:tt: $($name:ident),+) => {
        $(#[derive(graphql_client::GraphQLQuery)]
        #[graphql(schema_path = $schema, query_path = $documents, skip_serializing_none)]
        struct $name;)+
    };
}
pub(crate) use operations;

#[derive(Deserialize)]
struct Envelope {
    data: Option<Box<RawValue>>,
    errors: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Type {
    fields: Option<Vec<Field>>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    args: Option<Vec<Argument>>,
}

#[derive(Deserialize)]
struct Argument {
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "query Scan($id: ID!) {\n  scan(id: $id) { id }\n}\n\nquery Scans($id: ID!) {\n  scans(site: $id) {\n    id\n    \
                            scope_v2 { urls } #? Scan\n    paused #? Scan\n  }\n}\n";

    #[test]
    fn an_operation_is_sent_alone_and_without_what_the_server_does_not_know() {
        let scans = fit(DOCUMENT, "Scans", &Fields::known(&[("Scan", "scope_v2"), ("Site", "paused")]));
        assert_eq!(scans, "query Scans($id: ID!) {\n  scans(site: $id) {\n    id\n    scope_v2 { urls }\n  }\n}");
        assert_eq!(fit(DOCUMENT, "Scan", &Fields::default()), "query Scan($id: ID!) {\n  scan(id: $id) { id }\n}");
    }

    #[test]
    fn errors_in_an_answer_are_told_apart_by_their_words() {
        let kind = |error: Value| refusal(&[error], Excerpt::new);
        for (error, expected) in [
            (json!({ "message": "Unauthorized: you may not view scans" }), "a permission is missing: Unauthorized: you may not view scans"),
            (json!({ "message": "no", "extensions": { "code": "FORBIDDEN" } }), "a permission is missing: no"),
            (json!({ "message": "who?", "extensions": { "code": "UNAUTHENTICATED" } }), "the credential was refused (who?)"),
            (
                json!({ "message": "slow down", "extensions": { "code": "RATE_LIMIT_EXCEEDED", "retryAfter": 1.5 } }),
                "the vendor limits the rate of requests",
            ),
            (json!({ "message": "Field 'x' is undefined" }), "the request was refused with status 200: Field 'x' is undefined"),
            (json!({ "locations": [] }), "the request was refused with status 200: an error without a message"),
        ] {
            assert_eq!(kind(error).to_string(), expected);
        }
        for (after, wait) in
            [(json!(1.5), Some(Duration::from_millis(1500))), (json!(-1), None), (json!("soon"), None), (json!(null), None)]
        {
            let error = json!({ "message": "", "extensions": { "code": "RATE_LIMIT_EXCEEDED", "retryAfter": after } });
            assert!(matches!(kind(error), ErrorKind::Throttled(told) if told == wait), "{after}");
        }
    }

    #[test]
    fn only_a_refusal_that_names_introspection_is_one() {
        let refused = |text: &str| ErrorKind::Refused { status: 200, body: Excerpt::new(text) };
        assert!(refuses_introspection(&refused("Introspection has been disabled for this request")));
        assert!(refuses_introspection(&refused("Field '__type' in type 'Query' is undefined")));
        assert!(!refuses_introspection(&refused("Internal error")));
        assert!(!refuses_introspection(&ErrorKind::Network("introspection timed out".into())));
    }
}
