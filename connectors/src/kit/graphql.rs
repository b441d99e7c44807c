//! GraphQL over the kit's client: named operations, and errors inside a 200 taken for what they are.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Error, Excerpt, Kind, Result,
    kit::{Cx, Http},
};

/// One operation with its variables, as `graphql_client` builds it.
#[derive(Debug, Serialize)]
pub struct Operation<V> {
    /// The document.
    pub query: &'static str,
    /// Its variables; unused ones are left out, not null.
    pub variables: V,
    /// Which operation of the document.
    #[serde(rename = "operationName")]
    pub operation_name: &'static str,
}

impl<V> From<graphql_client::QueryBody<V>> for Operation<V> {
    fn from(body: graphql_client::QueryBody<V>) -> Self {
        Operation { query: body.query, variables: body.variables, operation_name: body.operation_name }
    }
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Envelope<T> {
    #[serde(default = "Option::default")]
    data: Option<T>,
    #[serde(default)]
    errors: Option<Vec<Value>>,
}

/// Sends an operation and returns its `data`.
///
/// # Errors
/// Besides those of the transport: `Kind::Refused` when the answer holds `errors`, `Kind::Forbidden` when they speak of
/// authorization, `Kind::Shape` when there is no `data`.
pub async fn send<V: Serialize, T: DeserializeOwned>(http: &Http, cx: &Cx, route: &'static str, operation: &Operation<V>) -> Result<T> {
    let doing = || format!("reading {} through POST {route}", operation.operation_name);
    let envelope: Envelope<T> = http.post(route, &[], operation).send(cx).await?.body;
    if let Some(errors) = envelope.errors.filter(|errors| !errors.is_empty()) {
        let told = |error: &Value| error.get("message").and_then(Value::as_str).unwrap_or("an error without a message").to_owned();
        let text = errors.iter().take(3).map(told).collect::<Vec<_>>().join("; ");
        let lower = text.to_lowercase();
        let excerpt = Excerpt::new(&text);
        let kind = if ["unauthorized", "unauthorised", "forbidden", "permission", "not authorized", "access denied"]
            .iter()
            .any(|word| lower.contains(word))
        {
            Kind::Forbidden(excerpt)
        } else {
            Kind::Refused { status: 200, body: excerpt }
        };
        return Err(Error::new(doing(), kind));
    }
    envelope
        .data
        .ok_or_else(|| Error::new(doing(), Kind::Shape { path: "data".into(), reason: "neither data nor errors in the answer".into() }))
}
