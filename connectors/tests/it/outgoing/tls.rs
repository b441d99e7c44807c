//! O4: no TLS is accepted that is not good, and a CA of one's own is, where the connection names it.

use std::{path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        version::{TLS12, TLS13},
    },
};
use tributary_connectors::{
    Error, ErrorKind, Recovery, Registration,
    kit::{Auth, HttpOptions, Secret},
};

use super::{META, cx, link};

/// A CA of one's own, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for these names, good from one year to another.
    fn certify(&self, names: &[&str], from: i32, until: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, from, until).signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], key.serialize_der())
    }
}

type Identity = (Vec<CertificateDer<'static>>, Vec<u8>);

fn params(names: &[&str], from: i32, until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn self_signed(names: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    (vec![params(names, 2024, 2090).self_signed(&key).unwrap().der().clone()], key.serialize_der())
}

/// Serves empty objects with this certificate; `https://127.0.0.1:PORT`.
async fn serve((chain, key): Identity, newest: bool) -> String {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let versions = if newest { [&TLS13] } else { [&TLS12] };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(&versions).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    url
}

/// A server that has never heard of TLS 1.2: it answers whatever hello with a `ServerHello` of 1.0 or 1.1.
async fn serve_old(minor: u8) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            // Version, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
            let body = [&[3, minor][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
            let handshake = [&[2, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
            let record = [&[22, 3, minor, 0, u8::try_from(handshake.len()).unwrap()][..], &handshake].concat();
            let _ = stream.write_all(&record).await;
            let _ = stream.read(&mut hello).await;
        }
    });
    url
}

async fn ask(url: &str, ca_file: Option<PathBuf>) -> Result<(), Error> {
    let options = HttpOptions { ca_file, ..HttpOptions::default() };
    let http = link(url, options).http(&META, Auth::header("x-api-key", Secret::new("canary")))?;
    http.get("/", &[]).send::<Value>(&cx()).await.map(drop)
}

/// Refused at once, with what is wrong and the cure.
fn assert_tls(error: &Error, why: &str, cure: &str) {
    assert!(matches!(&error.kind, ErrorKind::Tls(told) if told.contains(why)), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains(cure)), "{error}: {:?}", error.hint());
    assert_eq!((error.attempts, error.kind.recovery()), (1, Recovery::Operator), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o4_a_certificate_of_ones_own_ca_is_good_where_the_connection_names_the_ca() {
    let authority = Authority::new("Corporation");
    for newest in [true, false] {
        let url = serve(authority.certify(&["127.0.0.1", "localhost"], 2024, 2090), newest).await;
        ask(&url, Some(authority.file())).await.expect("a good certificate");
        ask(&url.replace("127.0.0.1", "localhost"), Some(authority.file())).await.expect("its other name");
        assert_tls(&ask(&url, None).await.unwrap_err(), "UnknownIssuer", "`http.ca_file`");
        let other = Authority::new("Corporation");
        assert_tls(&ask(&url, Some(other.file())).await.unwrap_err(), "invalid peer certificate", "`http.ca_file`");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o4_expired_early_misnamed_and_self_signed_certificates_are_refused() {
    let authority = Authority::new("Corporation");
    let ca = Some(authority.file());
    let expired = serve(authority.certify(&["127.0.0.1"], 2019, 2020), true).await;
    assert_tls(&ask(&expired, ca.clone()).await.unwrap_err(), "expired", "renew");
    let early = serve(authority.certify(&["127.0.0.1"], 2080, 2090), true).await;
    assert!(matches!(ask(&early, ca.clone()).await.unwrap_err().kind, ErrorKind::Tls(told) if told.contains("not valid yet")));
    let misnamed = serve(authority.certify(&["tool.example", "10.0.0.1"], 2024, 2090), true).await;
    assert_tls(&ask(&misnamed, ca.clone()).await.unwrap_err(), "not valid for name", "`location`");
    let own = serve(self_signed(&["127.0.0.1"]), true).await;
    assert_tls(&ask(&own, ca).await.unwrap_err(), "UnknownIssuer", "`http.ca_file`");
    assert_tls(&ask(&own, None).await.unwrap_err(), "UnknownIssuer", "`http.ca_file`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o4_servers_of_tls_1_1_and_older_are_refused() {
    for minor in [1, 2] {
        let error = ask(&serve_old(minor).await, None).await.unwrap_err();
        assert_tls(&error, "", "TLS 1.2");
    }
}

#[tokio::test]
async fn a_port_that_speaks_plain_http_is_told_as_that() {
    let url = super::serve(axum::Router::new()).await.replace("http://", "https://");
    assert_tls(&ask(&url, None).await.unwrap_err(), "plain http", "https port");
}

#[tokio::test]
async fn o4_a_ca_file_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for text in [None, Some(""), Some("no PEM"), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let error = ask("https://127.0.0.1:1", Some(path.clone())).await.unwrap_err();
        assert!(matches!(&error.kind, ErrorKind::Settings(told) if told.contains("`http.ca_file`")), "{text:?}: {error}");
    }
}

/// Over the SDK and for tokens, too, no byte is sent to a server that cannot prove who it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o4_aws_and_token_endpoints_are_no_exception() {
    let authority = Authority::new("Corporation");
    let url = serve(authority.certify(&["127.0.0.1"], 2024, 2090), true).await;
    let token = url::Url::parse(&format!("{url}/token")).unwrap();
    let oauth = Auth::client_credentials(token, "id", Secret::new("canary"));
    let http = link(&url, HttpOptions::default()).http(&META, oauth).unwrap();
    assert_tls(&http.get("/", &[]).send::<Value>(&cx()).await.unwrap_err(), "UnknownIssuer", "`http.ca_file`");
    let Some(aws) = Registration::find("aws_security_hub") else { return };
    let settings = serde_json::json!({ "access_key": "AKIAEXAMPLE", "secret_key": "canary", "region": "us-east-1" });
    let source = aws.open(settings.clone(), link(&url, HttpOptions::default())).unwrap();
    assert_tls(&source.check(&cx()).await.unwrap_err(), "UnknownIssuer", "`http.ca_file`");
    let options = HttpOptions { ca_file: Some(authority.file()), ..HttpOptions::default() };
    let error = aws.open(settings, link(&url, options)).unwrap().check(&cx()).await;
    assert!(!matches!(error, Err(Error { kind: ErrorKind::Tls(_), .. })), "the CA is known: {error:?}");
}
