//! Findings in the AWS Security Finding Format (ASFF): seeded ones, and what they are in the words of the normalized store.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::seed::Seed;

/// Where a finding lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) account: String,
    pub(super) name: Option<&'static str>,
    pub(super) region: &'static str,
}

/// The four kinds of providers here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Inspector,
    Control,
    GuardDuty,
    /// Two products of one company that number their findings alike.
    Partner,
}

const LABELS: [(&str, u64); 5] = [("CRITICAL", 90), ("HIGH", 70), ("MEDIUM", 40), ("LOW", 1), ("INFORMATIONAL", 0)];

/// A moment of the seeded past, in one of the forms that providers write.
fn stamp(day: usize, seed: &mut Seed) -> String {
    let at: Timestamp = "2024-01-01T00:00:00Z".parse().expect("a constant");
    let seconds = i64::try_from(day * 86_400 + seed.below(86_000)).unwrap_or(0);
    let at = at.saturating_add(SignedDuration::from_secs(seconds)).expect("hours and seconds");
    match seed.below(8) {
        0 => at.strftime("%Y-%m-%dT%H:%M:%S.107Z"),
        1 => at.strftime("%Y-%m-%dT%H:%M:%S.123456Z"),
        2 => at.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
        3 => at.strftime("%Y-%m-%dT%H:%M:%S.5+00:00"),
        4 => at.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
        _ => at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    .to_string()
}

/// An open finding. `step` is 0 for those that a client meets first.
pub(super) fn finding(seed: &mut Seed, place: &Place, step: u64, number: usize) -> (Provider, Value) {
    let provider = match number % 20 {
        0..=9 => Provider::Inspector,
        10..=16 => Provider::Control,
        17 | 18 => Provider::GuardDuty,
        _ => Provider::Partner,
    };
    let mut body = match provider {
        Provider::Inspector => inspector(seed, place, number),
        Provider::Control => control(seed, place, number),
        Provider::GuardDuty => guard_duty(seed, place, number),
        Provider::Partner => partner(seed, place, step, number),
    };
    let Place { account, region, .. } = place;
    let id = format!("{}/{}", body["ProductArn"].as_str().unwrap_or_default(), body["Id"].as_str().unwrap_or_default());
    body["ProductFields"]["aws/securityhub/FindingId"] = json!(id);
    body["ProductFields"]["aws/securityhub/ProductName"] = body["ProductName"].clone();
    body["SchemaVersion"] = json!("2018-10-08");
    body["AwsAccountId"] = json!(account);
    body["Region"] = json!(region);
    if let Some(name) = place.name {
        body["AwsAccountName"] = json!(name);
    }
    // Providers bring in late what they saw earlier: only `UpdatedAt` of a later step is the time of that step.
    let created = if step == 0 { seed.below(400) } else { 600 + usize::try_from(step).unwrap_or(0) };
    let last = created + seed.below(200);
    body["CreatedAt"] = json!(stamp(created, seed));
    body["LastObservedAt"] = json!(stamp(last + 1, seed));
    body["UpdatedAt"] = json!(stamp(last + 2, seed));
    if number % 9 != 2 {
        body["FirstObservedAt"] = json!(stamp(created.saturating_sub(1), seed));
    }
    body["WorkflowState"] = json!("NEW");
    body["Workflow"] = json!({ "Status": if number % 17 == 6 { "NOTIFIED" } else { "NEW" } });
    body["RecordState"] = json!("ACTIVE");
    let (label, normalized) = LABELS[seed.below(LABELS.len())];
    body["Severity"] = json!({ "Label": label, "Normalized": normalized, "Original": label });
    body["FindingProviderFields"] = json!({ "Severity": { "Label": label, "Original": label }, "Types": body["Types"] });
    if provider == Provider::Partner && number % 40 == 19 {
        // Findings of before the labels have the number alone.
        let normalized = [0, 1, 39, 40, 69, 70, 89, 90, 100][seed.below(9)];
        body["Severity"] = json!({ "Normalized": normalized, "Product": f64::from(normalized) / 10.0 });
    }
    if number % 40 == 7 {
        body["Title"] = json!("<script>alert(1)</script> & \u{202e}\u{7}\"quoted\" \\ title");
        body["Description"] = json!("<b onmouseover=alert(1)>Read</b>\u{0}\u{1b}[31m this\r\n\tand ' or 1=1 --");
    }
    (provider, body)
}

fn arn(place: &Place, product: &str) -> String {
    format!("arn:aws:securityhub:{}::product/aws/{product}", place.region)
}

fn instance(seed: &mut Seed, place: &Place) -> Value {
    let id = format!("i-{:017x}", seed.next() >> 4);
    json!({
        "Type": "AwsEc2Instance", "Id": format!("arn:aws:ec2:{}:{}:instance/{id}", place.region, place.account), "Partition": "aws",
        "Region": place.region, "Tags": { "Name": format!("web-{}", seed.below(90)), "team": "platform" },
        "Details": { "AwsEc2Instance": {
            "Type": "m5.xlarge", "ImageId": "ami-0b4a5f1e4bcfe46a3", "IpV4Addresses": ["10.0.4.17"], "VpcId": "vpc-0aa1", "SubnetId": "subnet-0bb2",
            "LaunchedAt": "2024-02-07T17:19:47.000Z",
        } },
    })
}

/// An image of a container with two vulnerable packages, which go into the vulnerability.
fn image(seed: &mut Seed, place: &Place, cve: &str, vulnerability: &mut Value) -> Value {
    let digest = format!("sha256:{:016x}{:016x}{:016x}{:016x}", seed.next(), seed.next(), seed.next(), seed.next());
    let image = json!({
        "Type": "AwsEcrContainerImage", "Id": format!("arn:aws:ecr:{}:{}:repository/shop/api/{digest}", place.region, place.account),
        "Partition": "aws", "Region": place.region,
        "Details": { "AwsEcrContainerImage": { "RegistryId": place.account, "RepositoryName": "shop/api", "Architecture": "amd64", "ImageDigest": digest, "ImageTags": ["2025-08-23"] } },
    });
    vulnerability["VulnerablePackages"] = json!([
        { "Name": "lodash", "Version": "4.17.11", "PackageManager": "NPM", "FilePath": "app/node_modules/lodash/package.json", "FixedInVersion": "4.17.21" },
        { "Name": "minimist", "Version": "1.2.0", "PackageManager": "NPM", "FilePath": "app/node_modules/minimist/package.json", "FixedInVersion": "NotAvailable" },
    ]);
    vulnerability["ExploitAvailable"] = json!("YES");
    vulnerability["LastKnownExploitAt"] = json!("2025-06-02T00:00:00Z");
    vulnerability["Id"] = json!(format!("GHSA-{:04}-aaaa-bbbb", seed.below(9999)));
    vulnerability["RelatedVulnerabilities"] = json!([cve]);
    image
}

/// A function of Lambda.
fn function(seed: &mut Seed, place: &Place) -> Value {
    let name = format!("orders-{}", seed.below(60));
    json!({
        "Type": "AwsLambdaFunction", "Id": format!("arn:aws:lambda:{}:{}:function:{name}:$LATEST", place.region, place.account), "Partition": "aws",
        "Region": place.region, "Details": { "AwsLambdaFunction": { "FunctionName": name, "Runtime": "python3.12" } },
    })
}

fn inspector(seed: &mut Seed, place: &Place, number: usize) -> Value {
    let cve = format!("CVE-2025-{}", 10_000 + seed.below(2000));
    let package = seed.pick(&["openssl", "glibc", "curl", "libxml2", "zlib", "busybox", "expat"]).to_owned();
    let mut fields =
        json!({ "aws/inspector/ProductVersion": "2", "aws/inspector/FindingStatus": "ACTIVE", "aws/inspector/inspectorScore": "6.5" });
    let mut vulnerability = json!({
        "Id": cve,
        "VulnerablePackages": [{
            "Name": package, "Version": "1.1.1n", "Epoch": "0", "Release": "0+deb11u4", "Architecture": "AMD64", "PackageManager": "OS",
            "FixedInVersion": "0:1.1.1n-0+deb11u5", "Remediation": "apt-get update && apt-get upgrade",
        }],
        "Cvss": [
            { "Version": "2.0", "BaseScore": 7.5, "BaseVector": "AV:N/AC:L/Au:N/C:P/I:P/A:P", "Source": "NVD" },
            { "Version": "3.1", "BaseScore": 6.5, "BaseVector": "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H", "Source": "NVD" },
        ],
        "Vendor": { "Name": "DEBIAN_CVE", "Url": format!("https://tracker.example/{cve}"), "VendorSeverity": "medium", "VendorCreatedAt": "2025-01-30T17:15:00Z" },
        "ReferenceUrls": [format!("https://advisories.example/{cve}")], "FixAvailable": "YES", "EpssScore": 0.00094, "ExploitAvailable": "NO",
    });
    let (resources, type_word) = match number % 10 {
        0..=4 => {
            fields["aws/inspector/instanceId"] = json!("i-0");
            (vec![instance(seed, place)], "CVE")
        }
        5..=7 => (vec![image(seed, place, &cve, &mut vulnerability)], "CVE"),
        _ => {
            vulnerability = json!({ "Id": "CWE-89", "CodeVulnerabilities": [{
                "Cwes": ["CWE-89"], "FilePath": { "FileName": "orders.py", "FilePath": "src/orders.py", "StartLine": 40 + number % 50, "EndLine": 44 + number % 50 },
            }] });
            (vec![function(seed, place)], "CodeVulnerability")
        }
    };
    let id = format!("{:016x}{:016x}", seed.next(), seed.next());
    json!({
        "Id": format!("arn:aws:inspector2:{}:{}:finding/{id}", place.region, place.account), "ProductArn": arn(place, "inspector"), "ProductName": "Inspector",
        "CompanyName": "Amazon", "GeneratorId": "AWSInspector", "Types": [format!("Software and Configuration Checks/Vulnerabilities/{type_word}")],
        "Title": format!("{} - {package}", vulnerability["Id"].as_str().unwrap_or_default()), "Description": seed.prose(350),
        "Remediation": { "Recommendation": { "Text": "Remediation is available. See the fixed version in the details of the vulnerability." } },
        "ProductFields": fields, "Resources": resources, "Vulnerabilities": [vulnerability],
    })
}

fn control(seed: &mut Seed, place: &Place, number: usize) -> Value {
    let control = format!("{}.{}", seed.pick(&["EC2", "S3", "IAM", "RDS", "Lambda", "KMS"]), 1 + seed.below(30));
    let bucket = json!({
        "Type": "AwsS3Bucket", "Id": format!("arn:aws:s3:::data-{:08x}", seed.next() >> 32), "Partition": "aws", "Region": place.region,
        "Tags": { "owner": "<i>data</i>" }, "Details": { "AwsS3Bucket": { "OwnerId": "0a1b", "CreatedAt": "2023-05-01T00:00:00.000Z" } },
    });
    let resources = match number % 4 {
        0 => vec![
            json!({ "Type": "AwsAccount", "Id": format!("AWS::::Account:{}", place.account), "Partition": "aws", "Region": place.region }),
        ],
        1 => vec![instance(seed, place), bucket],
        _ => vec![bucket],
    };
    let status = ["FAILED", "FAILED", "FAILED", "FAILED", "WARNING", "NOT_AVAILABLE"][seed.below(6)];
    json!({
        "Id": format!("arn:aws:securityhub:{}:{}:security-control/{control}/finding/{}", place.region, place.account, seed.uuid()),
        "ProductArn": arn(place, "securityhub"), "ProductName": "Security Hub", "CompanyName": "AWS", "GeneratorId": format!("security-control/{control}"),
        "Types": ["Software and Configuration Checks/Industry and Regulatory Standards"],
        "Title": format!("{control} should follow the recommended configuration"), "Description": seed.prose(250),
        "Remediation": { "Recommendation": { "Text": "For how to correct this issue, see the documentation of the control.", "Url": format!("https://docs.example/securityhub/{control}/remediation") } },
        "ProductFields": { "RelatedAWSResources:0/name": format!("securityhub-{}", control.to_lowercase()), "RelatedAWSResources:0/type": "AWS::Config::ConfigRule", "aws/securityhub/CompanyName": "AWS" },
        "Resources": resources,
        "Compliance": {
            "Status": status, "SecurityControlId": control, "RelatedRequirements": ["CIS AWS Foundations Benchmark v3.0.0/5.6", "NIST.800-53.r5 AC-3"],
            "AssociatedStandards": [{ "StandardsId": "standards/aws-foundational-security-best-practices/v/1.0.0" }, { "StandardsId": "standards/cis-aws-foundations-benchmark/v/3.0.0" }],
            "StatusReasons": [{ "ReasonCode": "CONFIG_EVALUATION_EMPTY", "Description": "The rule found nothing to evaluate." }],
        },
    })
}

fn guard_duty(seed: &mut Seed, place: &Place, number: usize) -> Value {
    let detector = format!("arn:aws:guardduty:{}:{}:detector/{:032x}", place.region, place.account, u128::from(Seed::of(&[7]).next()));
    let kind =
        seed.pick(&["UnauthorizedAccess:EC2-SSHBruteForce", "CryptoCurrency:EC2-BitcoinTool.B!DNS", "Discovery:S3-AnomalousBehavior"]);
    let tactic = ["TTPs/Defense Evasion", "TTPs/Initial Access", "Effects/Resource Consumption"][number % 3];
    let id = format!("{:016x}{:016x}", seed.next(), seed.next());
    json!({
        "Id": format!("{detector}/finding/{id}"), "ProductArn": arn(place, "guardduty"), "ProductName": "GuardDuty", "CompanyName": "Amazon", "GeneratorId": detector,
        "Types": [format!("{tactic}/{kind}")], "Title": format!("{kind} was seen on an instance."), "Description": seed.prose(300), "Sample": false,
        "SourceUrl": format!("https://{}.console.aws.example/guardduty/home?region={}#/findings?fId={id}", place.region, place.region),
        "ProductFields": {
            "aws/guardduty/service/archived": "false", "aws/guardduty/service/count": "108", "aws/guardduty/service/resourceRole": "ACTOR",
            "aws/guardduty/service/action/networkConnectionAction/remoteIpDetails/ipAddressV4": "198.51.100.7",
            "aws/guardduty/service/additionalInfo/value": "{\"inBytes\":\"318\",\"unusual\":\"Example Telecom\"}", "aws/securityhub/CompanyName": "Amazon",
        },
        "Resources": [instance(seed, place)],
    })
}

fn partner(seed: &mut Seed, place: &Place, step: u64, number: usize) -> Value {
    // The number in the id is shared by two products (19 and 39 are both 0, 59 and 79 both 1) and by all accounts of a region.
    let product = if number % 40 == 19 { "scanner" } else { "watcher" };
    json!({
        "Id": format!("{}/{step}-{}", place.region, number / 40), "ProductArn": format!("arn:aws:securityhub:{}::product/acme/{product}", place.region),
        "ProductName": format!("Acme {product}"), "CompanyName": "Acme", "GeneratorId": format!("acme-{product}"), "Types": ["Unusual Behaviors/Network Flow", "Sensitive Data Identifications"],
        "Title": format!("Traffic to a host of ill repute ({number})"), "Description": seed.prose(200), "ProductFields": { "acme/rule": "R-17" },
        "UserDefinedFields": { "reviewed": "no" }, "Confidence": 42, "Criticality": 99,
        "Resources": [{ "Type": "Other", "Id": format!("host-{:06x}", seed.next() >> 40), "Partition": "aws", "Region": place.region, "Details": { "Other": { "rack": "12" } } }],
    })
}

impl Provider {
    /// What is already closed, or to be passed over, when a client first meets it.
    pub(super) fn close_first(self, body: &mut Value, number: usize) {
        match (self, number % 5) {
            (Provider::GuardDuty, 0 | 1) => body["Sample"] = json!(true),
            (Provider::Control, 0..=3) => self.fix(body, number),
            (Provider::Inspector, 0) => body["ProductFields"]["aws/inspector/FindingStatus"] = json!("CLOSED"),
            (_, 1) => body["RecordState"] = json!("ARCHIVED"),
            (_, 2) => body["Workflow"]["Status"] = json!("RESOLVED"),
            (_, 3) => {
                body["Workflow"]["Status"] = json!("SUPPRESSED");
                body["VerificationState"] = json!("BENIGN_POSITIVE");
            }
            _ => body["Workflow"]["Status"] = json!("SUPPRESSED"),
        }
    }

    /// The provider says that it is over.
    pub(super) fn fix(self, body: &mut Value, number: usize) {
        match self {
            Provider::Control if !number.is_multiple_of(3) => {
                body["Compliance"]["Status"] = json!("PASSED");
                // A control that passes is of no severity any more.
                rate(body, ("INFORMATIONAL", 0));
            }
            Provider::Inspector if number.is_multiple_of(4) => body["ProductFields"]["aws/inspector/FindingStatus"] = json!("CLOSED"),
            Provider::Inspector => {
                body["ProductFields"]["aws/inspector/FindingStatus"] = json!("CLOSED");
                body["RecordState"] = json!("ARCHIVED");
            }
            _ => body["RecordState"] = json!("ARCHIVED"),
        }
    }
}

/// The provider gives it another severity.
pub(super) fn rerate(body: &mut Value) {
    let other = if body["Severity"]["Label"] == json!("LOW") { LABELS[1] } else { LABELS[3] };
    rate(body, other);
    body["FindingProviderFields"]["Severity"] = json!({ "Label": other.0, "Original": other.0 });
}

fn rate(body: &mut Value, (label, normalized): (&str, u64)) {
    body["Severity"] = json!({ "Label": label, "Normalized": normalized, "Original": label });
}

/// What a person does to it; none of it moves `UpdatedAt`.
pub(super) fn triage(body: &mut Value, number: usize, now: &str) {
    match number % 5 {
        0 => body["Workflow"]["Status"] = json!("SUPPRESSED"),
        1 => body["Workflow"]["Status"] = json!("RESOLVED"),
        2 | 3 => {
            body["Workflow"]["Status"] = json!("SUPPRESSED");
            body["VerificationState"] = json!(if number % 5 == 2 { "FALSE_POSITIVE" } else { "BENIGN_POSITIVE" });
        }
        // Another severity by hand: the provider's own word stays in FindingProviderFields.
        _ => rate(body, if body["Severity"]["Label"] == json!("LOW") { LABELS[2] } else { LABELS[3] }),
    }
    body["Note"] = json!({ "Text": "Looked at by the <team>", "UpdatedBy": "arn:aws:iam::123456789012:user/ada", "UpdatedAt": now });
}

/// A person takes it up again.
pub(super) fn take_up(body: &mut Value) {
    body["Workflow"]["Status"] = json!("NEW");
    if body["VerificationState"].is_string() {
        body["VerificationState"] = json!("TRUE_POSITIVE");
    }
}

/// Severity and state in the words of the normalized store; a sample finding is nothing at all.
pub(super) fn truth(body: &Value) -> (&'static str, Option<&'static str>) {
    let severity = match (body["Severity"]["Label"].as_str(), body["Severity"]["Normalized"].as_u64()) {
        (Some("CRITICAL"), _) | (None, Some(90..)) => "critical",
        (Some("HIGH"), _) | (None, Some(70..90)) => "high",
        (Some("MEDIUM"), _) | (None, Some(40..70)) => "medium",
        (Some("LOW"), _) | (None, Some(1..40)) => "low",
        (Some("INFORMATIONAL"), _) | (None, Some(0)) => "info",
        _ => "unknown",
    };
    let is_false = matches!(body["VerificationState"].as_str(), Some("FALSE_POSITIVE" | "BENIGN_POSITIVE"));
    let inspector = body["ProductFields"]["aws/inspector/FindingStatus"].as_str();
    let state = match (body["RecordState"].as_str(), body["Workflow"]["Status"].as_str(), body["Compliance"]["Status"].as_str()) {
        _ if body["Sample"] == json!(true) => None,
        (Some("ARCHIVED"), ..) | (_, Some("RESOLVED"), _) => Some("fixed"),
        (_, Some("SUPPRESSED"), _) => Some(if is_false { "false_positive" } else { "risk_accepted" }),
        (.., Some("PASSED")) => Some("fixed"),
        _ if inspector.is_some_and(|word| word != "ACTIVE") => Some("fixed"),
        _ => Some("open"),
    };
    (severity, state)
}
