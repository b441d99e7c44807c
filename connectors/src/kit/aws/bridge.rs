//! Between the SDK and the kit: the kit's client sends what the SDK signed, and good answers are read here.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextMut, dyn_dispatch_hint},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::Headers,
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::kit::Http;

/// The kit's client as the SDK's.
#[derive(Clone, Debug)]
pub(super) struct HttpBridge(pub(super) Http);

impl HttpClient for HttpBridge {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for HttpBridge {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = outgoing(request).map_err(ConnectorError::user)?;
            let sent = http.transmit("sending a signed request", request).await;
            let (status, headers, body) = sent.map_err(|error| ConnectorError::other(error.into(), None))?;
            let status = status.as_u16().try_into().map_err(|_| ConnectorError::other("no HTTP status".into(), None))?;
            let mut answer = HttpResponse::new(status, SdkBody::from(body));
            for (name, value) in &headers {
                if let Ok(value) = value.to_str() {
                    answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
                }
            }
            Ok(answer)
        })
    }
}

fn outgoing(request: HttpRequest) -> Result<reqwest::Request, BoxError> {
    let request = request.try_into_http1x()?.map(|body| body.bytes().map(<[u8]>::to_vec).unwrap_or_default());
    let mut request = reqwest::Request::try_from(request)?;
    if request.body().and_then(reqwest::Body::as_bytes).is_some_and(<[u8]>::is_empty) {
        *request.body_mut() = None;
    }
    for name in ["authorization", "x-amz-security-token"] {
        if let Some(value) = request.headers_mut().get_mut(name) {
            value.set_sensitive(true);
        }
    }
    Ok(request)
}

/// Takes the body of a good answer away and leaves the SDK an empty object.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyCapture(Arc<Mutex<Option<(HeaderMap, SdkBody)>>>);

impl BodyCapture {
    pub(super) fn take(&self) -> Option<(HeaderMap, SdkBody)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for BodyCapture {
    fn name(&self) -> &'static str {
        "BodyCapture"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        if answer.status().is_success() {
            let body = answer.take_body();
            *answer.body_mut() = SdkBody::from("{}");
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((plain(answer.headers()), body));
        }
        Ok(())
    }
}

pub(super) fn plain(headers: &Headers) -> HeaderMap {
    headers.iter().filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))).collect()
}
