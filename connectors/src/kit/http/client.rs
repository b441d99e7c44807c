//! How the tool is connected to: certificates, proxy, times, and the addresses that are never contacted.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::HttpOptions;
use crate::{Error, ErrorKind, Meta, Result, kit::location};

/// The client of one connection.
pub(super) fn client(meta: &Meta, options: &HttpOptions, resolver: Resolver) -> Result<reqwest::Client> {
    let wrong = |what: String| Error::new("preparing the HTTP client", ErrorKind::Settings(what.into()));
    let mut extra = Vec::new();
    if let Some(path) = &options.ca_file {
        let pem = std::fs::read(path).map_err(|error| wrong(format!("`http.ca_file` {}: {error}", path.display())))?;
        extra = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if extra.is_empty() {
            return Err(wrong(format!("`http.ca_file` {} holds no PEM certificate", path.display())));
        }
        let alone = reqwest::Client::builder().tls_certs_only(extra.clone()).build();
        alone.map_err(|_| wrong(format!("`http.ca_file` {} holds a certificate that cannot be read", path.display())))?;
    }
    // The proxy is connected to like any other host; who says how to reach it must not widen what may be reached.
    if let Some(proxy) = options.proxy.as_deref().and_then(|proxy| Url::parse(proxy).ok())
        && let Some(host) = proxy.host().filter(location::is_forbidden_host)
    {
        return Err(wrong(format!("`http.proxy` points to {host}, a link-local or metadata address, which is never contacted")));
    }
    let resolver = Arc::new(resolver);
    let build = |roots: Option<Vec<reqwest::Certificate>>| -> Result<reqwest::Client, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tributary/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .dns_resolver(Arc::clone(&resolver))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(options.timeout.unwrap_or(meta.timeout))
            .timeout(options.timeout.unwrap_or(meta.timeout).max(Duration::from_secs(1)) * 5);
        builder = match roots {
            Some(roots) => builder.tls_certs_only(roots.into_iter().chain(extra.clone())),
            None => builder.tls_certs_merge(extra.clone()),
        };
        if let Some(proxy) = &options.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy)?);
        }
        builder.build()
    };
    // A root without CA certificates (a minimal container) makes the platform's verifier fail: Mozilla's list serves there.
    build(None)
        .or_else(|_| {
            let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| reqwest::Certificate::from_der(der).ok());
            build(Some(mozilla.collect()))
        })
        .map_err(|error| wrong(format!("`http`: {}", error.without_url())))
}

pub(super) type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves names at the time of connecting, each time anew, and refuses to hand out link-local and metadata addresses whatever
/// a name says. Where a proxy is used, that is the proxy's name: the tool's name is resolved by the proxy.
pub(super) struct Resolver(pub(super) Box<dyn Fn(Name) -> Found + Send + Sync>);

impl Resolver {
    pub(super) fn system() -> Self {
        Resolver(Box::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0)(name);
        Box::pin(async move {
            let found = found.await?;
            // One bad address among good ones is no accident.
            if found.iter().any(|address| location::is_forbidden(address.ip())) {
                return Err(io::Error::other("the name resolves to a link-local or metadata address").into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
