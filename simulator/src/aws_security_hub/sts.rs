//! The part of AWS STS that hands out sessions of a role: the Query protocol, forms in and XML out.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};

use super::{
    ACCOUNT, AwsSecurityHub,
    access::{Caller, Credential},
    refusal::Refusal,
    signature::pairs,
};
use crate::seed::Seed;

/// The role that a user of another account may assume.
pub(super) const ROLE: &str = "arn:aws:iam::123456789012:role/security/tributary";
pub(super) const EXTERNAL_ID: &str = "sim-external-0042";

impl Refusal {
    /// The same refusal with the names and in the form that STS uses.
    pub(super) fn xml(&self) -> Response {
        let code = match self.name {
            "UnrecognizedClientException" => "InvalidClientTokenId",
            "InvalidSignatureException" => "SignatureDoesNotMatch",
            name => name.trim_end_matches("Exception"),
        };
        let kind = if self.status < 500 { "Sender" } else { "Receiver" };
        let message = self.message.replace('&', "&amp;").replace('<', "&lt;");
        let error = format!("<Error>\n    <Type>{kind}</Type>\n    <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>");
        xml(
            self.status,
            format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  {error}\n  <RequestId>{REQUEST}</RequestId>\n</ErrorResponse>\n"
            ),
        )
    }
}

const REQUEST: &str = "c6104cbe-af31-11e0-8154-cbc7ccf896c7";

fn xml(status: u16, body: String) -> Response {
    (StatusCode::from_u16(status).unwrap_or_default(), [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

fn result(action: &str, body: &str) -> Response {
    let meta = format!("<ResponseMetadata><RequestId>{REQUEST}</RequestId></ResponseMetadata>");
    xml(
        200,
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{body}</{action}Result>{meta}</{action}Response>\n"
        ),
    )
}

/// Answers one action.
pub(super) fn answer(tool: &AwsSecurityHub, caller: &Caller, form: &[u8], now: Timestamp) -> Result<Response, Refusal> {
    let form = pairs(&String::from_utf8_lossy(form), true);
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    match (field("Action"), field("Version")) {
        (Some("GetCallerIdentity"), Some("2011-06-15")) => {
            let account = caller.arn.split(':').nth(4).unwrap_or_default();
            Ok(result("GetCallerIdentity", &format!("<Arn>{}</Arn><UserId>AIDASIMULATED</UserId><Account>{account}</Account>", caller.arn)))
        }
        (Some("AssumeRole"), Some("2011-06-15")) => assume_role(tool, caller, field, now),
        (action, version) => {
            let message = format!(
                "Could not find operation {} for version {}",
                action.unwrap_or("NO_ACTION"),
                version.unwrap_or("NO_VERSION_SPECIFIED")
            );
            Err(Refusal::front_door(400, "InvalidAction", message))
        }
    }
}

/// Credentials of the role for who may have them.
fn assume_role<'a>(
    tool: &AwsSecurityHub,
    caller: &Caller,
    field: impl Fn(&str) -> Option<&'a str>,
    now: Timestamp,
) -> Result<Response, Refusal> {
    let invalid = |message: String| Refusal::front_door(400, "ValidationError", message);
    let name = field("RoleSessionName").unwrap_or_default();
    let word = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(c));
    if !(2..=64).contains(&name.len()) || !word(name, "+=,.@-") {
        return Err(invalid(format!("Value '{name}' at 'roleSessionName' failed to satisfy constraint: [\\w+=,.@-]{{2,64}}")));
    }
    let seconds = field("DurationSeconds").map_or(Some(3600), |text| text.parse::<i64>().ok()).filter(|s| (900..=43_200).contains(s));
    let Some(seconds) = seconds else {
        return Err(invalid("Value at 'durationSeconds' failed to satisfy constraint: between 900 and 43200".to_owned()));
    };
    let external = field("ExternalId");
    if external.is_some_and(|id| !(2..=1224).contains(&id.len()) || !word(id, "+=,.@:/-")) {
        return Err(invalid("Value at 'externalId' failed to satisfy constraint: [\\w+=,.@:\\/-]{2,1224}".to_owned()));
    }
    let role = field("RoleArn").unwrap_or_default();
    if !role.starts_with("arn:aws:iam::") {
        return Err(invalid(format!("{role} is invalid")));
    }
    let lifetime = tool.role.filter(|_| role == ROLE && external == Some(EXTERNAL_ID) && !caller.is_role);
    let Some(lifetime) = lifetime else {
        let message = format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {role}", caller.arn);
        return Err(Refusal::front_door(403, "AccessDenied", message));
    };
    let later = |seconds: i64| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let mut sessions = tool.sessions();
    let mut seed = Seed::of(&[77, sessions.len() as u64]);
    let credential = Credential {
        key: format!("ASIA{:016X}", seed.next()),
        secret: format!("{:016x}+{:016x}/{:06x}", seed.next(), seed.next(), seed.next() >> 40),
        token: Some(format!("IQoJb3JpZ2luX2Vj{:016x}{:016x}==", seed.next(), seed.next())),
        until: Some(later(lifetime.map_or(seconds, |lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(seconds).min(seconds)))),
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/tributary/{name}"),
        is_role: true,
    };
    let body = format!(
        "<AssumedRoleUser><AssumedRoleId>AROASIMULATED:{name}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{}</AccessKeyId>\
         <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
        credential.arn,
        credential.key,
        credential.secret,
        credential.token.as_deref().unwrap_or_default(),
        later(seconds).strftime("%Y-%m-%dT%H:%M:%SZ"),
    );
    sessions.push(credential);
    Ok(result("AssumeRole", &body))
}
