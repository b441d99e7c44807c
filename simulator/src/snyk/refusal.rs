//! Refusals in the form of the REST API.

use std::borrow::Cow;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// A refusal in the form of the REST API.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    detail: Cow<'static, str>,
    parameter: Option<String>,
}

pub(super) fn refused(status: u16, detail: impl Into<Cow<'static, str>>) -> Refused {
    Refused { status, detail: detail.into(), parameter: None }
}

pub(super) fn wrong(parameter: &str, detail: &'static str) -> Refused {
    Refused { status: 400, detail: detail.into(), parameter: Some(parameter.to_owned()) }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut error = json!({ "id": "0f6c1e5e-77aa-4f0e-9a55-5d6a7b8c9d0e", "status": self.status.to_string(), "detail": self.detail });
        if let Some(parameter) = self.parameter {
            error["source"] = json!({ "parameter": parameter });
        }
        answer(self.status, json!({ "jsonapi": { "version": "1.0" }, "errors": [error] }).to_string())
    }
}

pub(super) fn answer(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/vnd.api+json; charset=utf-8")], body).into_response()
}
