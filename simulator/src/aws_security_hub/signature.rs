//! AWS Signature Version 4, from the receiving side: the signature is worked out again from the request itself.

use axum::http::{HeaderMap, Method, Uri};
use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use sha2::{Digest, Sha256};

use super::refusal::Refusal;

/// What the `Authorization` header says.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) key: String,
    day: String,
    region: String,
    service: String,
    signed: Vec<String>,
    signature: String,
}

/// A request as it came over the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

fn mismatch(message: impl Into<String>) -> Refusal {
    Refusal::front_door(403, "InvalidSignatureException", message)
}

impl Signed<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads the `Authorization` header.
    pub(super) fn claim(&self) -> Result<Claim, Refusal> {
        let Some(text) = self.header("authorization") else {
            return Err(Refusal::front_door(403, "MissingAuthenticationTokenException", "Missing Authentication Token"));
        };
        let incomplete = |what: &str| {
            let message =
                format!("Authorization header requires '{what}' parameter. Authorization={}", text.split(' ').next().unwrap_or(""));
            Refusal::front_door(400, "IncompleteSignatureException", message)
        };
        let Some(rest) = text.strip_prefix("AWS4-HMAC-SHA256 ") else { return Err(incomplete("Credential")) };
        let part =
            |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')).ok_or_else(|| incomplete(name));
        let scope: Vec<&str> = part("Credential")?.split('/').collect();
        let [key, day, region, service, "aws4_request"] = scope[..] else {
            return Err(mismatch("Credential should be scoped with a valid terminator: 'aws4_request'."));
        };
        let signed: Vec<String> = part("SignedHeaders")?.split(';').map(ToOwned::to_owned).collect();
        let must = |name: &str| signed.iter().any(|known| known == name);
        let unsigned = |name: &&str| self.headers.contains_key(*name) && !must(name);
        if let Some(name) = ["x-amz-date", "x-amz-security-token"].into_iter().find(unsigned) {
            return Err(mismatch(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
        if !must("host") {
            return Err(mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
        }
        let signature = part("Signature")?.to_owned();
        Ok(Claim { key: key.to_owned(), day: day.to_owned(), region: region.to_owned(), service: service.to_owned(), signed, signature })
    }

    /// Whether the claim is true for this secret, at this place and time.
    pub(super) fn verify(&self, claim: &Claim, secret: &str, region: &str, service: &str, now: Timestamp) -> Result<(), Refusal> {
        if claim.region != region {
            return Err(mismatch(format!("Credential should be scoped to a valid region, not '{}'. ", claim.region)));
        }
        if claim.service != service {
            return Err(mismatch(format!("Credential should be scoped to correct service: '{service}'. ")));
        }
        let Some(date) = self.header("x-amz-date").or_else(|| self.header("date")) else {
            return Err(Refusal::front_door(
                400,
                "IncompleteSignatureException",
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ));
        };
        let Some(at) = moment(date) else {
            return Err(Refusal::front_door(
                400,
                "IncompleteSignatureException",
                format!("Date must be in ISO-8601 'basic format'. Got '{date}'."),
            ));
        };
        if date.get(..8) != Some(claim.day.as_str()) {
            return Err(mismatch(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{date}'.",
                claim.day
            )));
        }
        let ahead = at.as_second() - now.as_second();
        if ahead < -300 {
            return Err(mismatch(format!(
                "Signature expired: {date} is now earlier than {} ({} - 5 min.)",
                basic(now.as_second() - 300),
                basic(now.as_second())
            )));
        }
        if ahead > 300 {
            return Err(mismatch(format!(
                "Signature not yet current: {date} is still later than {} ({} + 5 min.)",
                basic(now.as_second() + 300),
                basic(now.as_second())
            )));
        }
        if self.sign(claim, secret, date) != claim.signature {
            return Err(mismatch(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. \
                 Consult the service documentation for details.",
            ));
        }
        Ok(())
    }

    /// The signature that this request must have.
    fn sign(&self, claim: &Claim, secret: &str, date: &str) -> String {
        let scope = format!("{}/{}/{}/aws4_request", claim.day, claim.region, claim.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(self.canonical(&claim.signed))));
        let mut key = hmac(format!("AWS4{secret}").as_bytes(), claim.day.as_bytes());
        for part in [&claim.region, &claim.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        hex(&hmac(&key, to_sign.as_bytes()))
    }

    fn canonical(&self, signed: &[String]) -> String {
        let mut query: Vec<(String, String)> = pairs(self.uri.query().unwrap_or_default(), false)
            .into_iter()
            .map(|(name, value)| (encode(&name, false), encode(&value, false)))
            .collect();
        query.sort();
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut text = format!("{}\n{}\n{}\n", self.method, encode(self.uri.path(), true), query.join("&"));
        for name in signed {
            let values = self.headers.get_all(name).iter().map(|value| {
                let value = String::from_utf8_lossy(value.as_bytes());
                value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
            });
            text.push_str(&format!("{name}:{}\n", values.collect::<Vec<_>>().join(",")));
        }
        text.push_str(&format!("\n{}\n{}", signed.join(";"), hex(&Sha256::digest(self.body))));
        text
    }
}

/// The time of a signature, written `20150830T123600Z`.
fn moment(text: &str) -> Option<Timestamp> {
    strtime::parse("%Y%m%dT%H%M%SZ", text).ok()?.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn basic(second: i64) -> String {
    Timestamp::from_second(second).map(|at| at.strftime("%Y%m%dT%H%M%SZ").to_string()).unwrap_or_default()
}

/// Percent-encodes all but unreserved characters; what is encoded already is encoded again.
fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Percent-decoding; in forms `+` is a space.
pub(super) fn decode(text: &str, form: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let code = tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            (b'+', _) if form => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The names and values of a query or a form.
pub(super) fn pairs(text: &str, form: bool) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decode(name, form), decode(value, form))).collect()
}

/// HMAC (RFC 2104) over SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    /// Signs a request as a client does: all headers it has, by this name and secret.
    pub(in crate::aws_security_hub) fn authorize(
        request: Signed<'_>,
        key: &str,
        secret: &str,
        place: (&str, &str),
        at: Timestamp,
    ) -> HeaderMap {
        let mut headers = request.headers.clone();
        let date = basic(at.as_second());
        headers.insert("x-amz-date", HeaderValue::from_str(&date).unwrap());
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:80"));
        let mut signed: Vec<String> = headers.keys().map(ToString::to_string).collect();
        signed.sort();
        let claim = Claim {
            key: key.to_owned(),
            day: date[..8].to_owned(),
            region: place.0.to_owned(),
            service: place.1.to_owned(),
            signed,
            signature: String::new(),
        };
        let signature = Signed { headers: &headers, ..request }.sign(&claim, secret, &date);
        let scope = format!("{}/{}/{}/{}/aws4_request", claim.key, claim.day, claim.region, claim.service);
        let text = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={}, Signature={signature}", claim.signed.join(";"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&text).unwrap());
        headers
    }

    #[test]
    fn the_example_of_the_documentation_has_its_signature() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("iam.amazonaws.com"));
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        let known = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        let text = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature={known}"
        );
        headers.insert("authorization", HeaderValue::from_str(&text).unwrap());
        let uri = Uri::from_static("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08");
        let request = Signed { method: &Method::GET, uri: &uri, headers: &headers, body: b"" };
        let claim = request.claim().unwrap();
        let verify = |secret: &str, second: i64| {
            let now = Timestamp::from_second(1_440_938_160 + second).unwrap();
            request.verify(&claim, secret, "us-east-1", "iam", now).map_err(|refusal| refusal.name)
        };
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        assert_eq!(verify(secret, 0), Ok(()));
        assert_eq!((verify(secret, 300), verify(secret, -300)), (Ok(()), Ok(())));
        assert_eq!(verify("wrong", 0), Err("InvalidSignatureException"));
        assert_eq!((verify(secret, 301), verify(secret, -301)), (Err("InvalidSignatureException"), Err("InvalidSignatureException")));
    }

    #[test]
    fn a_path_that_is_encoded_already_is_encoded_again() {
        assert_eq!(encode("/a/arn%3Aaws%3Ahub/x~1", true), "/a/arn%253Aaws%253Ahub/x~1");
        assert_eq!(decode("arn%3Aaws+x%2", false), "arn:aws+x%2");
    }
}
