//! Errors in the forms that AWS has for them.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// An error as AWS answers it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) name: &'static str,
    pub(super) message: String,
    /// Whether it is one of Security Hub's own, which look a little different from those of the front door.
    is_modelled: bool,
}

impl Refusal {
    /// An error of AWS's common front: `message` and `__type`.
    pub(super) fn front_door(status: u16, name: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, name, message: message.into(), is_modelled: false }
    }

    /// An error of Security Hub itself: `Message` and `Code`.
    pub(super) fn modelled(status: u16, name: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, name, message: message.into(), is_modelled: true }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Refusal::modelled(400, "InvalidInputException", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (kind, body) = if self.is_modelled {
            let kind = format!("{}:http://internal.amazon.com/coral/com.amazonaws.securityhub/", self.name);
            (kind, json!({ "Code": self.name, "Message": self.message }))
        } else {
            (self.name.to_owned(), json!({ "__type": self.name, "message": self.message }))
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_str(&kind).expect("plain text"));
        (StatusCode::from_u16(self.status).unwrap_or_default(), headers, body.to_string()).into_response()
    }
}
