//! AWS Security Hub.

use std::{collections::VecDeque, sync::Mutex};

use axum::{
    body::Bytes,
    http::{Method, StatusCode, Uri},
    response::IntoResponse,
};
use serde_json::json;
use tributary_connectors::{
    Coverage, DynConnector, Error, ErrorKind,
    model::{Category, Severity, State},
};

use super::*;

const ACCOUNT: &str = "123456789012";

fn settings() -> Value {
    json!({ "access_key": "AKIAEXAMPLE", "secret_key": "s3cr3t-key", "region": "us-east-1" })
}

async fn page(findings: Value) -> Read {
    let body = json!({ "Findings": findings, "NextToken": "" }).to_string();
    let answers = Router::new().route("/findings", axum::routing::post(move || std::future::ready(body)));
    read("aws_security_hub", settings(), &Scope::account("findings"), answers).await
}

/// The findings of a recorded file.
async fn recorded(name: &str) -> Option<Read> {
    let file = super::recorded(&format!("aws_security_hub/{name}"))?;
    let list = file.get("Findings").or_else(|| file.get("findings")).unwrap();
    Some(page(list.clone()).await)
}

/// A finding with the required members and these.
fn with(more: Value) -> Value {
    let mut base = json!({
        "SchemaVersion": "2018-10-08", "Id": "f-1", "ProductArn": "arn:aws:securityhub:us-east-1::product/acme/scanner",
        "GeneratorId": "rule-7", "AwsAccountId": ACCOUNT, "Region": "us-east-1", "CreatedAt": "2026-01-01T00:00:00Z",
        "UpdatedAt": "2026-02-01T00:00:00.5Z", "Title": "A title", "Description": "Words.", "Severity": { "Label": "HIGH" },
        "Resources": [{ "Type": "AwsS3Bucket", "Id": "arn:aws:s3:::bucket", "Region": "us-east-1" }],
        "Workflow": { "Status": "NEW" }, "RecordState": "ACTIVE",
    });
    let Value::Object(more) = more else { panic!("members") };
    base.as_object_mut().unwrap().extend(more);
    base
}

#[tokio::test]
async fn every_recorded_finding_is_read_and_none_is_rejected() {
    for (name, expected) in [
        ("config_many_findings.json", 3),
        ("config_multiple_resources.json", 2),
        ("config_one_finding_active.json", 1),
        ("guardduty.json", 4),
        ("inspector_ec2_cve_no_vulnerabilities.json", 1),
        ("inspector_ec2_ghsa.json", 1),
        ("inspector_ecr.json", 7),
        ("missing_account_id.json", 1),
    ] {
        let Some(page) = recorded(name).await else { continue };
        assert_eq!((page.items.len(), page.rejects.len()), (expected, 0), "{name}: {:?}", page.rejects);
        assert_eq!(page.warnings, Vec::<String>::new(), "{name}");
        for finding in page.findings() {
            assert!(!finding.title.is_empty() && finding.raw.is_some() && finding.asset_key.is_some(), "{name}: {}", finding.key);
            assert!(finding.vendor_first_seen.is_some() && finding.vendor_last_seen.is_some(), "{name}: {}", finding.key);
        }
    }
}

#[tokio::test]
async fn an_inspector_finding_is_mapped_field_by_field() {
    let Some(page) = recorded("inspector_ecr.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!(
        &*finding.key,
        "123456789012:eu-central-1/arn:aws:securityhub:eu-central-1::product/aws/inspector/arn:aws:inspector2:eu-central-1:123456789012:finding/fbd353dda17ad52c47774ad7d62360b2"
    );
    assert_eq!((&*finding.record, finding.category), ("123456789012:eu-central-1", Category::Container));
    assert_eq!(&*finding.title, "CVE-2023-2650 - openssl: sha256:af965ef68c78374a5f987fce98c0ddfa45801df2395bf012c50b863e65978d74");
    assert!(finding.description.as_deref().unwrap().starts_with("Issue summary: Processing some specially crafted ASN.1"));
    assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (Severity::Medium, Some("MEDIUM")));
    assert_eq!((finding.state, finding.vendor_state.as_deref()), (State::Open, Some("NEW")));
    assert_eq!((finding.rule.as_deref(), texts(&finding.cve)), (Some("CVE-2023-2650"), vec!["CVE-2023-2650"]));
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score), ("3.1", Some(6.5)));
    assert_eq!(cvss.vector.as_deref(), Some("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:N/A:H"));
    assert_eq!((finding.epss_score, finding.exploited, finding.fix_available), (Some(0.0014), Some(false), Some(true)));
    assert_eq!((finding.component_name.as_deref(), finding.component_version.as_deref()), (Some("openssl"), Some("1.1.1n-0+deb11u4")));
    assert_eq!((finding.component_purl.as_deref(), finding.fixed_version.as_deref()), (None, Some("0:1.1.1n-0+deb11u5")));
    assert_eq!(
        finding.asset_key.as_deref(),
        Some(
            "arn:aws:ecr:eu-central-1:123456789012:repository/repo-os/sha256:af965ef68c78374a5f987fce98c0ddfa45801df2395bf012c50b863e65978d74"
        )
    );
    assert!(finding.remediation.as_deref().unwrap().ends_with("finding JSON.\n\napt-get update && apt-get upgrade"));
    assert_eq!(
        texts(&finding.reference_urls),
        ["https://bugs.debian.org/cgi-bin/bugreport.cgi?bug=null", "https://security-tracker.debian.org/tracker/CVE-2023-2650"]
    );
    assert_eq!(texts(&finding.tags), ["Inspector", "AWSInspector", "AwsEcrContainerImage"]);
    assert_eq!(finding.vendor_first_seen.unwrap().to_string(), "2023-08-23T14:00:39Z");
    assert_eq!(finding.vendor_last_seen.unwrap().to_string(), "2023-08-30T21:11:07Z");
    let purls: Vec<_> = page.findings().iter().map(|finding| finding.component_purl.as_deref().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        purls,
        [
            "",
            "pkg:golang/golang.org/x/text@0.3.8-0.20220509174342-b4bca84b0361",
            "pkg:npm/semver@7.5.1",
            "pkg:pypi/certifi@2022.12.7",
            "pkg:gem/tzinfo@1.2.9",
            "pkg:golang/github.com/elazarl/goproxy@v0.0.0-20220901064549-fbd10ff4f5a1",
            "pkg:maven/org.apache.kafka/kafka-clients@3.1.2",
        ]
    );
    let text = page.findings()[1];
    assert_eq!((text.file_path.as_deref(), text.line_start), (Some("usr/local/go/src/go.mod"), None));
    assert_eq!(
        texts(&text.tags),
        ["Inspector", "AWSInspector", "AwsEcrContainerImage", "package golang.org/x/text 0.3.3", "exploit available"]
    );
    let semver = page.findings()[2];
    assert_eq!((semver.exploited, semver.tags.last().map(|tag| &**tag)), (None, Some("exploit available")));
}

#[tokio::test]
async fn an_operating_systems_package_and_other_ids_are_read() {
    let Some(page) = recorded("inspector_ec2_ghsa.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((texts(&finding.cve), texts(&finding.identifiers)), (vec!["CVE-2023-34256"], vec!["GHSA-p98r-538v-jgw5"]));
    assert_eq!((finding.category, finding.rule.as_deref()), (Category::Infrastructure, Some("GHSA-p98r-538v-jgw5")));
    assert_eq!(&*finding.title, "GHSA-p98r-538v-jgw5 - kernel-5.15: i-07c11cc535d830123");
    assert_eq!(finding.component_version.as_deref(), Some("1.14.1-842c7134"));
    let Some(page) = recorded("inspector_ec2_cve_no_vulnerabilities.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((finding.category, texts(&finding.cve)), (Category::Infrastructure, vec!["CVE-2022-3643"]));
    assert_eq!((finding.severity, finding.remediation.as_deref(), &*finding.record), (Severity::Critical, None, "XXXXXXXXXXXX:us-east-1"));
}

#[tokio::test]
async fn a_control_is_a_misconfiguration_and_a_passed_one_is_fixed() {
    let Some(page) = recorded("config_many_findings.json").await else { return };
    for finding in page.findings() {
        assert_eq!((finding.state, finding.vendor_state.as_deref()), (State::Fixed, Some("PASSED")));
        assert_eq!((finding.category, finding.severity), (Category::Misconfiguration, Severity::Info));
    }
    let first = page.findings()[0];
    assert_eq!((&*first.record, first.rule.as_deref()), ("012345678912:us-east-1", Some("IAM.5")));
    assert_eq!(&*first.title, "IAM.5 MFA should be enabled for all IAM users that have console password: 012345678912");
    assert_eq!(texts(&first.tags), ["Security Hub", "aws-foundational-security-best-practices/v/1.0.0/IAM.5", "IAM.5", "AwsAccount"]);
    assert_eq!(texts(&first.reference_urls), ["https://docs.aws.amazon.com/console/securityhub/IAM.5/remediation"]);
    let Some(page) = recorded("config_multiple_resources.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((finding.state, finding.severity), (State::Open, Severity::High));
    assert_eq!(finding.asset_key.as_deref(), Some("arn:aws:ec2:us-east-1:012345678912:security-group/sg-0fff2222bbbb1111a"));
    let others = [
        "arn:aws:ec2:us-east-1:012345678912:security-group/sg-0aaa1111cccc2222b",
        "arn:aws:ec2:us-east-1:012345678912:vpc/vpc-0bbb3333dddd4444c",
    ];
    assert_eq!(texts(&finding.tags)[finding.tags.len() - 2..], others);
}

#[tokio::test]
async fn a_guardduty_finding_is_a_detection() {
    let Some(page) = recorded("guardduty.json").await else { return };
    let [dns, .., key] = page.findings()[..] else { panic!("four findings") };
    assert_eq!((dns.category, dns.severity, dns.state), (Category::Detection, Severity::Medium, State::Open));
    assert_eq!(&*dns.title, "EC2 instance i-1234567890 is communicating with an Unusual DNS Resolver 1.1.1.1.", "the resource is in it");
    let link = "https://us-east-1.console.aws.amazon.com/guardduty/home?region=us-east-1#/findings?macros=current&fId=123456789789";
    assert_eq!((dns.url.as_deref(), texts(&dns.reference_urls)), (Some(link), vec![link]));
    assert_eq!(dns.vendor_last_seen.unwrap().to_string(), "2200-01-17T11:21:23Z");
    assert_eq!(
        (&*key.title, key.asset_key.as_deref()),
        (
            "User AssumedRole : 123123123 is anomalously invoking APIs commonly used in Discovery tactics.",
            Some("AWS::IAM::AccessKey:123123123")
        )
    );
}

#[tokio::test]
async fn a_missing_account_is_taken_from_an_arn_and_odd_numbers_are_read() {
    let Some(page) = recorded("missing_account_id.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!(&*finding.record, "1234567:us-east-1");
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("3.1", Some(7.5), None));
    assert_eq!((finding.component_name.as_deref(), finding.fixed_version.as_deref()), (Some("aa"), Some("abc[2.0]")));
    assert_eq!((finding.epss_score, finding.fix_available), (None, Some(true)));
}

/// A body of our own for each row of the tables of states and severities.
#[tokio::test]
async fn states_and_severities_follow_the_table() {
    let workflow = |status: &str| json!({ "Workflow": { "Status": status } });
    let verified = |word: &str| json!({ "Workflow": { "Status": "SUPPRESSED" }, "VerificationState": word });
    let compliance = |status: &str| json!({ "Compliance": { "Status": status } });
    let inspector = |status: &str| json!({ "ProductFields": { "aws/inspector/FindingStatus": status } });
    let states = [
        (json!({ "RecordState": "ARCHIVED", "Workflow": { "Status": "SUPPRESSED" } }), State::Fixed, "ARCHIVED"),
        (workflow("RESOLVED"), State::Fixed, "RESOLVED"),
        (workflow("SUPPRESSED"), State::RiskAccepted, "SUPPRESSED"),
        (verified("FALSE_POSITIVE"), State::FalsePositive, "SUPPRESSED, FALSE_POSITIVE"),
        (verified("BENIGN_POSITIVE"), State::FalsePositive, "SUPPRESSED, BENIGN_POSITIVE"),
        (verified("TRUE_POSITIVE"), State::RiskAccepted, "SUPPRESSED"),
        (compliance("PASSED"), State::Fixed, "PASSED"),
        (compliance("FAILED"), State::Open, "NEW"),
        (compliance("WARNING"), State::Open, "NEW"),
        (compliance("NOT_AVAILABLE"), State::Open, "NEW"),
        (json!({ "Compliance": {} }), State::Open, "NEW"),
        (inspector("CLOSED"), State::Fixed, "Inspector CLOSED"),
        (inspector("ACTIVE"), State::Open, "NEW"),
        (workflow("NOTIFIED"), State::Open, "NOTIFIED"),
        (json!({ "Workflow": null, "RecordState": null }), State::Open, "NEW"),
        (workflow("PONDERED"), State::Open, "PONDERED"),
        (json!({ "VerificationState": "FALSE_POSITIVE" }), State::Open, "NEW"),
    ];
    let read = page(states.iter().map(|(more, ..)| with(more.clone())).collect()).await;
    for (finding, (more, state, word)) in read.findings().into_iter().zip(&states) {
        assert_eq!((finding.state, finding.vendor_state.as_deref()), (*state, Some(*word)), "{more}");
    }
    assert_eq!(read.warnings, ["unknown workflow status `PONDERED`"]);
    let severities = [
        (json!({ "Label": "CRITICAL", "Normalized": 1 }), Severity::Critical, Some("CRITICAL")),
        (json!({ "Label": "HIGH" }), Severity::High, Some("HIGH")),
        (json!({ "Label": "MEDIUM" }), Severity::Medium, Some("MEDIUM")),
        (json!({ "Label": "LOW" }), Severity::Low, Some("LOW")),
        (json!({ "Label": "INFORMATIONAL" }), Severity::Info, Some("INFORMATIONAL")),
        (json!({ "Label": "DIRE" }), Severity::Unknown, Some("DIRE")),
        (json!({ "Normalized": 90 }), Severity::Critical, Some("90")),
        (json!({ "Normalized": "89" }), Severity::High, Some("89")),
        (json!({ "Normalized": 70.0 }), Severity::High, Some("70")),
        (json!({ "Normalized": 69 }), Severity::Medium, Some("69")),
        (json!({ "Normalized": 40 }), Severity::Medium, Some("40")),
        (json!({ "Normalized": 39 }), Severity::Low, Some("39")),
        (json!({ "Normalized": 1 }), Severity::Low, Some("1")),
        (json!({ "Normalized": 0 }), Severity::Info, Some("0")),
        (json!({}), Severity::Unknown, None),
        (Value::Null, Severity::Unknown, None),
    ];
    let read = page(severities.iter().map(|(severity, ..)| with(json!({ "Severity": severity }))).collect()).await;
    for (finding, (given, severity, word)) in read.findings().into_iter().zip(&severities) {
        assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (*severity, *word), "{given}");
    }
    assert_eq!(read.warnings, ["unknown severity `DIRE`"]);
}

#[tokio::test]
async fn the_other_rows_of_the_table_are_followed() {
    let read = page(json!([
        with(json!({
            "Title": "Injection", "ProductName": "Scanner", "Types": ["Software and Configuration Checks/Vulnerabilities/CVE"],
            "Vulnerabilities": [{
                "Id": "CVE-2026-1111", "RelatedVulnerabilities": ["GHSA-a-b-c", "see the advisory", null], "EpssScore": "0.5",
                "ExploitAvailable": "YES", "LastKnownExploitAt": "2026-01-02T00:00:00Z", "FixAvailable": "PARTIAL",
                "Cvss": [
                    { "Version": "2.0", "BaseScore": 5.0, "Source": "NVD" },
                    { "Version": "3.1", "BaseScore": 8.0, "Source": "ACME" },
                    { "Version": "3.1", "BaseScore": 7.0, "Source": "NVD" },
                    { "Version": "4.0", "BaseVector": "nonsense" },
                ],
                "VulnerablePackages": [{
                    "Name": "@acme/tool", "Version": "1.0", "Epoch": "2", "Release": "3", "PackageManager": "NPM",
                    "FilePath": "app/package-lock.json", "FixedInVersion": "NotAvailable", "Remediation": "Leave it.",
                }],
                "CodeVulnerabilities": [{ "Cwes": ["CWE-89", "CWE-20"],
                    "FilePath": { "FileName": "a.py", "FilePath": "src/a.py", "StartLine": 7, "EndLine": "9" } }],
                "Vendor": { "Url": "https://vendor.example/1" }, "ReferenceUrls": ["https://a.example/", "https://a.example/"],
            }],
            "Remediation": { "Recommendation": { "Text": "Bind it.", "Url": "https://fix.example/" } }, "SourceUrl": "https://tool.example/f/1",
            "FirstObservedAt": null, "LastObservedAt": null,
        })),
        with(json!({
            "Id": "f-2", "Compliance": { "Status": "FAILED", "SecurityControlId": "EC2.2",
                "AssociatedStandards": [{ "StandardsId": "standards/cis/v/3" }] },
        })),
        with(json!({ "Id": "f-3", "Region": null, "ProductArn": "arn:aws:securityhub:eu-west-1::product/acme/scanner" })),
        with(json!({ "Id": "f-4", "Vulnerabilities": [{ "Id": "CVE-2026-2222", "FixAvailable": "NO" }],
            "Resources": [{ "Type": "AwsLambdaFunction", "Id": "arn:aws:lambda:us-east-1:1:function:f" }] })),
        with(json!({ "Id": "f-5", "Types": ["TTPs/Impact"] })),
        with(json!({ "Id": "f-6", "Sample": true })),
    ]))
    .await;
    assert_eq!(read.rejects, []);
    let [first, control, old, function, threat] = read.findings()[..] else { panic!("five findings") };
    assert_eq!(
        (&*first.key, first.category),
        ("123456789012:us-east-1/arn:aws:securityhub:us-east-1::product/acme/scanner/f-1", Category::Sast)
    );
    assert_eq!((&*first.title, first.rule.as_deref()), ("Injection: bucket", Some("CVE-2026-1111")));
    assert_eq!((texts(&first.cve), texts(&first.identifiers)), (vec!["CVE-2026-1111"], vec!["GHSA-a-b-c"]));
    assert_eq!(texts(&first.cwe), ["CWE-89", "CWE-20"]);
    assert_eq!(first.cvss.as_ref().map(|cvss| (&*cvss.version, cvss.score)), Some(("3.1", Some(7.0))));
    assert_eq!((first.epss_score, first.exploited, first.fix_available), (Some(0.5), Some(true), Some(true)));
    assert_eq!((first.component_name.as_deref(), first.component_version.as_deref()), (Some("@acme/tool"), Some("2:1.0-3")));
    assert_eq!((first.component_purl.as_deref(), first.fixed_version.as_deref()), (Some("pkg:npm/%40acme/tool@1.0"), None));
    assert_eq!((first.file_path.as_deref(), first.line_start, first.line_end), (Some("src/a.py"), Some(7), Some(9)));
    assert_eq!(first.remediation.as_deref(), Some("Bind it.\n\nLeave it."));
    assert_eq!(
        texts(&first.reference_urls),
        ["https://fix.example/", "https://tool.example/f/1", "https://a.example/", "https://vendor.example/1"]
    );
    assert_eq!(texts(&first.tags), ["Scanner", "rule-7", "AwsS3Bucket", "exploit available"]);
    assert_eq!(first.vendor_first_seen.unwrap().to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(first.vendor_last_seen.unwrap().to_string(), "2026-02-01T00:00:00.5Z");
    assert_eq!((control.category, control.rule.as_deref()), (Category::Misconfiguration, Some("EC2.2")));
    assert_eq!(texts(&control.tags), ["rule-7", "EC2.2", "standards/cis/v/3", "AwsS3Bucket"]);
    assert_eq!((&*old.record, old.category), ("123456789012:eu-west-1", Category::Cloud));
    assert_eq!((function.category, function.fix_available), (Category::Sca, Some(false)));
    assert_eq!(threat.category, Category::Detection);
    assert!(matches!(read.items.last(), Some(Item::Skipped { key, reason: "sample finding" }) if key.ends_with("/f-6")));
}

#[tokio::test]
async fn a_bad_finding_is_one_reject_and_a_bad_member_none() {
    let bad = with(json!({ "Id": "f-2", "Types": [7] }));
    let homeless = with(json!({ "Id": "f-4", "AwsAccountId": null, "Resources": null }));
    let read = page(json!([with(json!({})), bad, [1, 2], with(json!({ "Id": null })), homeless])).await;
    assert_eq!(read.items.len(), 2);
    assert_eq!(read.left_out(), [("123456789012:us-east-1/arn:aws:securityhub:us-east-1::product/acme/scanner/f-2", "Types[0]")]);
    let keys: Vec<_> = read.rejects.iter().map(|reject| (reject.key.as_deref().unwrap_or_default(), &*reject.path)).collect();
    // The account is a part of the key: without one nothing tells which finding it is.
    assert_eq!(keys, [("", ""), ("", ""), ("", "")]);
}

#[tokio::test]
async fn what_may_hold_secrets_of_a_resource_is_not_kept() {
    let details = |detail: Value| json!({ "Resources": [{ "Id": "arn:aws:lambda:us-east-1:1:function:f", "Details": detail }] });
    let function =
        details(json!({ "AwsLambdaFunction": { "Runtime": "python3.12", "Environment": { "Variables": { "PASSWORD": "hush" } } } }));
    let template = details(json!({ "AwsEc2LaunchTemplate": { "LaunchTemplateData": { "UserData": "hush", "ImageId": "ami-1" } } }));
    let read =
        page(json!([with(function), with(template.clone()), with(json!({ "Types": [7], "Resources": template["Resources"] }))])).await;
    let raws: Vec<String> = read.findings().iter().map(|finding| finding.raw.as_ref().unwrap().get().to_owned()).collect();
    assert!(raws[0].contains("python3.12") && raws[1].contains("ami-1"));
    assert!(!format!("{raws:?} {:?}", read.rejects).contains("hush"));
}

/// A hub that answers from a script and notes what it is asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Script::default() }
    }

    async fn serve(&self) -> tributary_simulator::Running {
        let script = self.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let asked = if method == Method::GET { json!(uri.path()) } else { serde_json::from_slice(&body).unwrap() };
            script.asked.lock().unwrap().push(asked);
            let (status, body) = script.answers.lock().unwrap().pop_front().unwrap_or((500, json!({ "Message": "the script is over" })));
            std::future::ready((StatusCode::from_u16(status).unwrap(), body.to_string()).into_response())
        });
        start(Canned(router), 0).await.unwrap()
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

/// Inactive findings that are stored.
struct Known(Vec<&'static str>);

impl StoredKeys for Known {
    fn undelivered<'a>(
        &'a self,
        vendor_states: &'a [&'a str],
        after: Option<&'a str>,
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>> {
        assert_eq!(vendor_states, ["RESOLVED", "SUPPRESSED", "SUPPRESSED, BENIGN_POSITIVE", "SUPPRESSED, FALSE_POSITIVE"]);
        let keys = self.0.iter().filter(|key| after.is_none_or(|after| **key > after)).take(limit).map(|key| (*key).into()).collect();
        Box::pin(std::future::ready(keys))
    }
}

fn open(url: &str) -> Box<dyn DynConnector> {
    let link = Endpoint {
        location: Location::parse(url, false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    Registration::find("aws_security_hub").unwrap().open(settings(), link).unwrap()
}

struct Pass {
    items: Vec<Item>,
    coverage: Coverage,
    warnings: Vec<String>,
}

async fn walk(script: &Script, list: &'static str, since: Option<&str>, full: bool, stored: &Known) -> Result<Pass, Error> {
    let tool = script.serve().await;
    let source = open(&tool.url);
    let activity = Arc::new(RunStats::without_waits());
    let cx = Context::new(Arc::clone(&activity));
    let (mut cursor, mut items) = (None::<Box<str>>, Vec::new());
    for _ in 0..200 {
        let since = since.map(|since| since.parse().unwrap());
        let scope = Scope::account(list);
        let ask = RawPageRequest { scope: &scope, since, full, mark: None, cursor: cursor.as_deref().map(Into::into), stored, parts: None };
        let page = source.page(&cx, ask).await?;
        items.extend(page.items);
        match page.next {
            Next::More(next) | Next::Wait(next, _) => cursor = Some(next),
            Next::Done(coverage, _) => return Ok(Pass { items, coverage, warnings: activity.warnings() }),
        }
    }
    panic!("the walk does not end");
}

fn listed(findings: Value, token: Option<&str>) -> (u16, Value) {
    let mut body = json!({ "NextToken": token });
    body["Findings"] = findings;
    (200, body)
}

fn without_token(mut asked: Value) -> Value {
    asked.as_object_mut().unwrap().remove("NextToken");
    asked
}

#[tokio::test]
async fn a_delta_reads_changes_then_what_people_closed_then_what_they_reopened() {
    let key = |id: &str| -> &'static str { format!("{ACCOUNT}:us-east-1/arn:aws:securityhub:us-east-1::product/acme/scanner/{id}").leak() };
    let known = Known((10..31).map(|n| key(&format!("id/{n}"))).collect());
    let script = Script::new([
        listed(json!([with(json!({}))]), Some("t1")),
        listed(json!([]), Some("t2")),
        listed(json!([with(json!({ "Id": "f-2", "RecordState": "ARCHIVED" }))]), None),
        listed(json!([with(json!({ "Id": "f-3", "Workflow": { "Status": "RESOLVED" } }))]), Some("")),
        listed(json!([with(json!({ "Id": "id/10" }))]), None),
        listed(json!([]), None),
    ]);
    let pass = walk(&script, "findings", Some("2026-03-01T10:00:00.75Z"), false, &known).await.unwrap();
    assert_eq!((pass.items.len(), pass.coverage), (4, Coverage::Delta));
    let asked = script.asked();
    assert_eq!(asked.len(), 6);
    let window = &asked[0]["Filters"]["UpdatedAt"][0];
    assert_eq!(window["Start"], "2026-03-01T10:00:00Z");
    assert!(window["End"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(asked[0]["Filters"].as_object().unwrap().len(), 1, "no state is filtered");
    assert_eq!(asked[0]["SortCriteria"], json!([{ "Field": "UpdatedAt", "SortOrder": "asc" }]));
    assert_eq!(asked[0]["MaxResults"], 100);
    assert_eq!((&asked[0]["NextToken"], &asked[1]["NextToken"], &asked[2]["NextToken"]), (&Value::Null, &json!("t1"), &json!("t2")));
    assert!(asked[1..3].iter().all(|later| without_token(later.clone()) == asked[0]), "only the token differs");
    let equals = |value: &str| json!({ "Value": value, "Comparison": "EQUALS" });
    assert_eq!(
        asked[3]["Filters"],
        json!({ "RecordState": [equals("ACTIVE")], "WorkflowStatus": [equals("RESOLVED"), equals("SUPPRESSED")] })
    );
    let ids: Vec<Value> = (10..30).map(|n| equals(&format!("id/{n}"))).collect();
    assert_eq!(asked[4]["Filters"], json!({ "Id": ids }));
    assert_eq!(asked[5]["Filters"], json!({ "Id": [equals("id/30")] }));
}

#[tokio::test]
async fn a_full_pass_lists_everything_active_after_the_changes() {
    let script = Script::new([listed(json!([]), None), listed(json!([with(json!({}))]), Some("t")), listed(json!([]), None)]);
    let pass = walk(&script, "findings", Some("2026-03-01T10:00:00Z"), true, &Known(Vec::new())).await.unwrap();
    assert_eq!((pass.items.len(), pass.coverage), (1, Coverage::Full));
    let asked = script.asked();
    assert!(asked[0]["Filters"]["UpdatedAt"].is_array());
    assert_eq!(asked[1]["Filters"], json!({ "RecordState": [{ "Value": "ACTIVE", "Comparison": "EQUALS" }] }));
    assert_eq!(without_token(asked[2].clone()), asked[1]);
    let script = Script::new([listed(json!([]), None)]);
    assert_eq!(walk(&script, "findings", None, true, &Known(Vec::new())).await.unwrap().coverage, Coverage::Full);
    assert!(script.asked()[0]["Filters"]["RecordState"].is_array(), "a first pass has no changes to read");
}

#[tokio::test]
async fn a_refused_token_is_an_expired_cursor_and_a_refused_question_is_not() {
    let refusal = || (400, json!({ "Code": "InvalidInputException", "Message": "Input Query has changed" }));
    let script = Script::new([listed(json!([]), Some("t")), refusal()]);
    let error = walk(&script, "findings", None, true, &Known(Vec::new())).await.err().unwrap();
    assert!(matches!(error.kind, ErrorKind::CursorExpired), "{error}");
    let script = Script::new([refusal()]);
    let error = walk(&script, "findings", None, true, &Known(Vec::new())).await.err().unwrap();
    assert!(matches!(error.kind, ErrorKind::Refused { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_findings_is_no_empty_hub() {
    for body in [json!({}), json!({ "findings": [] }), json!({ "Findings": null })] {
        let script = Script::new(std::iter::repeat_n((200, body.clone()), 6));
        let error = walk(&script, "findings", None, true, &Known(Vec::new())).await.err().unwrap();
        assert!(matches!(error.kind, ErrorKind::UnexpectedBody { .. }), "{body}: {error}");
    }
}

const ARN: &str = "arn:aws:securityhub:us-east-1:123456789012:finding-aggregator/123e4567-e89b-12d3-a456-426652340000";

fn hub(aggregator: Option<Value>) -> Vec<(u16, Value)> {
    let mut answers = vec![(200, json!({ "HubArn": format!("arn:aws:securityhub:us-east-1:{ACCOUNT}:hub/default") }))];
    let list = aggregator.iter().map(|_| json!({ "FindingAggregatorArn": ARN })).collect::<Vec<_>>();
    answers.push((200, json!({ "FindingAggregators": list })));
    answers.extend(aggregator.map(|aggregator| (200, aggregator)));
    answers
}

fn records(pass: &Pass) -> Vec<&str> {
    pass.items.iter().filter_map(|item| if let Item::Record(record) = item { Some(&*record.key) } else { None }).collect()
}

async fn discover(aggregator: Option<Value>, found: &[Option<(&str, &str)>]) -> (Pass, Vec<Value>) {
    let found = found.iter().map(|place| {
        let finding = place.map(|(account, region)| with(json!({ "AwsAccountId": account, "Region": region })));
        listed(finding.into_iter().collect(), Some("more"))
    });
    let script = Script::new(hub(aggregator).into_iter().chain(found));
    let pass = walk(&script, "records", None, true, &Known(Vec::new())).await.unwrap();
    (pass, script.asked())
}

#[tokio::test]
async fn without_aggregation_the_record_is_the_hubs_account_and_region() {
    let (pass, asked) = discover(None, &[Some(("210987654321", "us-east-1")), None]).await;
    assert_eq!((records(&pass), pass.coverage), (vec!["123456789012:us-east-1", "210987654321:us-east-1"], Coverage::Full));
    let Item::Record(record) = &pass.items[0] else { panic!("a record") };
    assert_eq!(&*record.name, "123456789012 (us-east-1)");
    assert_eq!(asked[..2], [json!("/accounts"), json!("/findingAggregator/list")]);
    let filter = |comparison: &str, values: &[&str]| -> Value {
        values.iter().map(|value| json!({ "Value": value, "Comparison": comparison })).collect()
    };
    let accounts = filter("NOT_EQUALS", &[ACCOUNT]);
    assert_eq!(asked[2]["Filters"], json!({ "Region": filter("EQUALS", &["us-east-1"]), "AwsAccountId": accounts }));
    assert_eq!(asked[2]["MaxResults"], 1);
    assert_eq!(asked[3]["Filters"]["AwsAccountId"], filter("NOT_EQUALS", &[ACCOUNT, "210987654321"]));
}

#[tokio::test]
async fn linked_regions_are_records_as_the_linking_mode_says() {
    let mode = |mode: &str, regions: Value| {
        Some(json!({ "FindingAggregatorArn": ARN, "FindingAggregationRegion": "us-east-1", "RegionLinkingMode": mode, "Regions": regions }))
    };
    let (pass, asked) = discover(mode("SPECIFIED_REGIONS", json!(["eu-west-1", "us-east-1"])), &[None, None]).await;
    assert_eq!(records(&pass), ["123456789012:us-east-1", "123456789012:eu-west-1"]);
    assert_eq!(
        asked[2],
        "/findingAggregator/get/arn%3Aaws%3Asecurityhub%3Aus-east-1%3A123456789012%3Afinding-aggregator/123e4567-e89b-12d3-a456-426652340000"
    );
    let (pass, _) = discover(mode("NO_REGIONS", Value::Null), &[None]).await;
    assert_eq!(records(&pass), ["123456789012:us-east-1"]);
    let found = [Some((ACCOUNT, "eu-west-1")), None, Some(("210987654321", "eu-west-1")), None, None];
    let (pass, asked) = discover(mode("ALL_REGIONS", json!([])), &found).await;
    assert_eq!(records(&pass), ["123456789012:us-east-1", "123456789012:eu-west-1", "210987654321:eu-west-1"]);
    assert_eq!(asked[3]["Filters"], json!({ "Region": [{ "Value": "us-east-1", "Comparison": "NOT_EQUALS" }] }));
    let (pass, asked) = discover(mode("ALL_REGIONS_EXCEPT_SPECIFIED", json!(["sa-east-1"])), &[None, None]).await;
    assert_eq!(records(&pass), ["123456789012:us-east-1"]);
    assert_eq!(asked[3]["Filters"]["Region"][1], json!({ "Value": "sa-east-1", "Comparison": "NOT_EQUALS" }));
    let (pass, _) = discover(mode("SOME_REGIONS", json!([])), &[None, None]).await;
    assert_eq!(pass.warnings, ["unknown linking mode `SOME_REGIONS`"]);
}

#[tokio::test]
async fn another_home_region_is_warned_about() {
    let away = json!({ "FindingAggregationRegion": "eu-west-1", "RegionLinkingMode": "ALL_REGIONS", "Regions": [] });
    let (pass, _) = discover(Some(away), &[None]).await;
    assert_eq!(records(&pass), ["123456789012:us-east-1"]);
    assert_eq!(pass.warnings.len(), 1);
    assert!(pass.warnings[0].contains("https://securityhub.eu-west-1.amazonaws.com"), "{:?}", pass.warnings);
}

#[tokio::test]
async fn more_accounts_than_a_filter_names_are_found_by_their_beginnings() {
    let accounts: Vec<String> = (0..25).map(|n| format!("{}{:011}", n % 3, n)).chain([ACCOUNT.to_owned()]).collect();
    let all = accounts.clone();
    let router = Router::new()
        .route(
            "/accounts",
            axum::routing::get(|| async {
                json!({ "HubArn": format!("arn:aws:securityhub:us-east-1:{ACCOUNT}:hub/default") }).to_string()
            }),
        )
        .route("/findingAggregator/list", axum::routing::get(|| async { json!({ "FindingAggregators": [] }).to_string() }))
        .route(
            "/findings",
            axum::routing::post(move |body: Bytes| {
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let filters = asked["Filters"]["AwsAccountId"].as_array().unwrap().clone();
                assert!(filters.len() <= 20, "{} values", filters.len());
                let fits = |account: &&String| {
                    filters.iter().all(|filter| match filter["Comparison"].as_str().unwrap() {
                        "PREFIX" => account.starts_with(filter["Value"].as_str().unwrap()),
                        _ => filter["Value"] != account.as_str(),
                    })
                };
                let found: Vec<Value> = all.iter().filter(fits).take(1).map(|account| with(json!({ "AwsAccountId": account }))).collect();
                std::future::ready(json!({ "Findings": found }).to_string())
            }),
        );
    let read = read("aws_security_hub", settings(), &Scope::account("records"), router).await;
    let found: std::collections::BTreeSet<String> =
        read.items.iter().map(|item| if let Item::Record(record) = item { record.key.to_string() } else { panic!("a record") }).collect();
    assert_eq!(found, accounts.iter().map(|account| format!("{account}:us-east-1")).collect());
    assert_eq!((read.items.len(), read.warnings), (26, Vec::new()));
}

#[tokio::test]
async fn check_names_the_step_that_fails_and_its_cure() {
    let denied = |code: &str| (if code == "InvalidAccessException" { 401 } else { 403 }, json!({ "__type": code, "Message": "no" }));
    let check = async |answers: Vec<(u16, Value)>| {
        let script = Script::new(answers);
        let tool = script.serve().await;
        open(&tool.url).check(&Context::new(Arc::new(RunStats::without_waits()))).await
    };
    let good = |count: usize| hub(None).into_iter().take(count).collect::<Vec<_>>();
    for (answers, doing, hint) in [
        (vec![denied("InvalidAccessException")], "GET /accounts", "enable Security Hub CSPM in us-east-1"),
        (vec![denied("AccessDeniedException")], "GET /accounts", "allow securityhub:DescribeHub"),
        ([good(2), vec![denied("AccessDeniedException")]].concat(), "POST /findings", "allow securityhub:GetFindings"),
        (vec![denied("UnrecognizedClientException")], "GET /accounts", "AWS does not know it in this region"),
        (vec![(404, json!({ "__type": "ResourceNotFoundException", "Message": "no" }))], "GET /accounts", "is an endpoint of Security Hub"),
    ] {
        let error = check(answers).await.unwrap_err();
        assert!(error.doing.contains(doing) && error.hint().is_some_and(|told| told.contains(hint)), "{error}: {:?}", error.hint());
    }
    let checked = check([good(2), vec![listed(json!([with(json!({}))]), None)]].concat()).await.unwrap();
    assert_eq!(checked.facts, ["Security Hub CSPM of account 123456789012 in us-east-1", "no cross-region aggregation"]);
    assert!(checked.warnings.is_empty());
    let checked = check([good(1), vec![denied("AccessDeniedException"), listed(json!([with(json!({}))]), None)]].concat()).await.unwrap();
    assert!(matches!(&checked.warnings[..], [only] if only.contains("allow securityhub:ListFindingAggregators")), "{:?}", checked.warnings);
}

/// A permission or a route of the aggregator that is missing costs nothing that the findings themselves tell.
#[tokio::test]
async fn an_aggregator_that_cannot_be_read_stops_nothing() {
    let denied = || (403, json!({ "__type": "AccessDeniedException", "Message": "no" }));
    let missing = || (404, json!({ "__type": "UnknownOperationException", "Message": "" }));
    let home = || hub(None).remove(0);
    let listed_arn = || (200, json!({ "FindingAggregators": [{ "FindingAggregatorArn": ARN }] }));
    for (before, permission) in [
        (vec![home(), denied()], "securityhub:ListFindingAggregators"),
        (vec![home(), missing()], "securityhub:ListFindingAggregators"),
        (vec![home(), listed_arn(), denied()], "securityhub:GetFindingAggregator"),
    ] {
        let elsewhere = listed(json!([with(json!({ "Region": "eu-west-1" }))]), Some("more"));
        let none = || listed(json!([]), None);
        let script = Script::new(before.into_iter().chain([elsewhere, none(), none(), none()]));
        let pass = walk(&script, "records", None, true, &Known(Vec::new())).await.unwrap();
        assert_eq!(records(&pass), ["123456789012:us-east-1", "123456789012:eu-west-1"]);
        assert!(matches!(&pass.warnings[..], [only] if only.contains(&format!("allow {permission}"))), "{:?}", pass.warnings);
    }
    // What may pass is no fact about the hub.
    let script = Script::new([home()].into_iter().chain(std::iter::repeat_n((500, json!({ "Message": "later" })), 6)));
    let error = walk(&script, "records", None, true, &Known(Vec::new())).await.err().unwrap();
    assert!(matches!(error.kind, ErrorKind::Vendor { status: 500, .. }), "{error}");
}

/// An odd resource hides no key where account and region are named.
#[tokio::test]
async fn an_odd_resource_costs_no_finding() {
    let read =
        page(json!([with(json!({ "Resources": "arn:aws:s3:::bucket" })), with(json!({ "Id": "f-2", "Resources": [{ "Id": 7 }] }))])).await;
    assert_eq!((read.findings().len(), read.rejects.len(), read.left_out().len()), (2, 0, 2), "{:?}", read.rejects);
}

#[tokio::test]
async fn one_id_in_two_accounts_is_two_findings() {
    let copies = json!([
        with(json!({ "AwsAccountId": "111111111111" })),
        with(json!({ "AwsAccountId": "444444444444", "RecordState": "ARCHIVED" }))
    ]);
    let read = page(copies).await;
    let seen: Vec<_> = read.findings().iter().map(|finding| (finding.key.to_string(), finding.record.to_string(), finding.state)).collect();
    let key = |account: &str| format!("{account}:us-east-1/arn:aws:securityhub:us-east-1::product/acme/scanner/f-1");
    let record = |account: &str| format!("{account}:us-east-1");
    assert_eq!(
        seen,
        [(key("111111111111"), record("111111111111"), State::Open), (key("444444444444"), record("444444444444"), State::Fixed),]
    );
}

/// What a decision follows to another finding: the same weakness on the same resource, and nothing else.
#[tokio::test]
async fn lineage_is_the_weakness_on_its_resource() {
    let found = |id: &str, instance: &str, cve: &str, package: &str| {
        with(json!({
            "Id": id, "GeneratorId": "AWSInspector",
            "Resources": [{ "Type": "AwsEc2Instance", "Id": format!("arn:aws:ec2:us-east-1:{ACCOUNT}:instance/{instance}") }],
            "Vulnerabilities": [{ "Id": cve, "VulnerablePackages": [{ "Name": package, "Version": id }] }],
        }))
    };
    let control = |id: &str, generator: &str| with(json!({ "Id": id, "GeneratorId": generator, "Compliance": { "Status": "FAILED" } }));
    let code = |id: &str, line: u32| {
        let place = json!({ "FilePath": "src/a.py", "StartLine": line });
        with(
            json!({ "Id": id, "Vulnerabilities": [{ "Id": "CWE-89", "CodeVulnerabilities": [{ "Cwes": ["CWE-89"], "FilePath": place }] }] }),
        )
    };
    let read = page(json!([
        found("1", "i-1", "CVE-2026-1111", "openssl"),
        found("2", "i-1", "cve-2026-1111", "openssl"),
        found("3", "i-2", "CVE-2026-1111", "openssl"),
        found("4", "i-1", "CVE-2026-2222", "openssl"),
        found("5", "i-1", "CVE-2026-1111", "curl"),
        control("6", "security-control/EC2.2"),
        control("7", "security-control/EC2.2"),
        control("8", "security-control/EC2.3"),
        code("9", 12),
        code("10", 240),
        // Two alerts of one detector on one resource are two events.
        with(json!({ "Id": "11", "Types": ["TTPs/Impact"] })),
    ]))
    .await;
    assert_eq!(read.rejects, []);
    let lineage: Vec<_> = read.findings().iter().map(|finding| finding.lineage.clone()).collect();
    assert!(lineage[0].is_some() && lineage[0] == lineage[1], "the same weakness under another id");
    assert!(lineage[5].is_some() && lineage[5] == lineage[6], "the same control");
    let others: std::collections::BTreeSet<_> = [0, 2, 3, 4, 5, 7, 8, 9].map(|number: usize| lineage[number].clone()).into_iter().collect();
    assert_eq!(others.len(), 8, "{others:#?}");
    assert_eq!(lineage[10], None);
}

#[tokio::test]
async fn words_and_ids_are_read_in_any_case_and_sets_in_any_order() {
    let found = |links: [&str; 2], standards: [&str; 2], related: [&str; 2]| {
        with(json!({
            "Severity": { "Label": "Informational" }, "Workflow": { "Status": "suppressed" }, "VerificationState": "false_positive",
            "Compliance": { "Status": "failed", "AssociatedStandards": standards.map(|id| json!({ "StandardsId": id })) },
            "SourceUrl": "https://tool.example/f(1)?q=[a]|b", "FirstObservedAt": "0001-01-01T00:00:00Z", "LastObservedAt": "1970-01-01T00:00:00Z",
            "Vulnerabilities": [{ "Id": "cve-2026-1234", "RelatedVulnerabilities": related, "ReferenceUrls": links,
                "LastKnownExploitAt": "1970-01-01T00:00:00Z", "ExploitAvailable": "No", "FixAvailable": "yes",
                "CodeVulnerabilities": [{ "Cwes": ["cwe-79", "CWE-0"], "FilePath": { "FilePath": "a.py", "StartLine": 9, "EndLine": 3 } }] }],
        }))
    };
    let (here, there) = ("https://a.example/x_(y)", "https://b.example/?q={1}");
    let one = found([here, there], ["standards/a", "standards/b"], ["GHSA-a-b-c", "CVE-2025-5555"]);
    let two = found([there, here], ["standards/b", "standards/a"], ["CVE-2025-5555", "GHSA-a-b-c"]);
    let read = page(json!([one, two])).await;
    for finding in read.findings() {
        assert_eq!((finding.severity, finding.state), (Severity::Info, State::FalsePositive));
        assert_eq!(finding.vendor_state.as_deref(), Some("SUPPRESSED, FALSE_POSITIVE"), "as it is asked for again by");
        assert_eq!((texts(&finding.cve), texts(&finding.cwe)), (vec!["CVE-2026-1234", "CVE-2025-5555"], vec!["CWE-79"]));
        assert_eq!(texts(&finding.identifiers), ["GHSA-a-b-c"]);
        assert_eq!(finding.url.as_deref(), Some("https://tool.example/f(1)?q=[a]|b"));
        assert_eq!(texts(&finding.reference_urls), ["https://tool.example/f(1)?q=[a]|b", here, there]);
        assert_eq!(texts(&finding.tags), ["rule-7", "standards/a", "standards/b", "AwsS3Bucket"]);
        assert_eq!((finding.exploited, finding.fix_available), (Some(false), Some(true)));
        assert_eq!((finding.line_start, finding.line_end), (Some(9), None));
        assert_eq!(finding.vendor_first_seen.unwrap().to_string(), "2026-01-01T00:00:00Z", "the next best");
        assert_eq!(finding.vendor_last_seen.unwrap().to_string(), "2026-02-01T00:00:00.5Z");
    }
    assert_eq!(read.warnings, Vec::<String>::new());
}
