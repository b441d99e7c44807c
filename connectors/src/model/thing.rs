//! Things that are neither records nor findings: what findings are on, who may do what, and companies that are rated.

use std::borrow::Cow;

use jiff::Timestamp;

use super::words;

words! {
    /// What an item of a list is.
    ItemKind {
        /// A product record.
        Record = "record",
        /// A finding.
        Finding = "finding",
        /// A host, device, repository, image, cloud resource or application.
        Asset = "asset",
        /// A person, group, application or role.
        Identity = "identity",
        /// That somebody is in a group, may use an application or has a role.
        Membership = "membership",
        /// What is known of a person's second factor.
        Enrollment = "enrollment",
        /// A rated company.
        ThirdParty = "third_party",
    }
}

impl ItemKind {
    /// The kinds that are things.
    pub const THINGS: &[ItemKind] =
        &[ItemKind::Asset, ItemKind::Identity, ItemKind::Membership, ItemKind::Enrollment, ItemKind::ThirdParty];

    /// The word for many of them.
    pub const fn plural(self) -> &'static str {
        match self {
            ItemKind::Record => "records",
            ItemKind::Finding => "findings",
            ItemKind::Asset => "assets",
            ItemKind::Identity => "identities",
            ItemKind::Membership => "memberships",
            ItemKind::Enrollment => "enrollments",
            ItemKind::ThirdParty => "third_parties",
        }
    }
}

/// A thing that is stored under its key and closed when its list proves that it is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Thing {
    /// What findings are on.
    Asset(Box<Asset>),
    /// A person, group, application or role.
    Identity(Box<Identity>),
    /// That somebody is in a group, may use an application or has a role.
    Membership(Box<Membership>),
    /// What is known of a person's second factor.
    Enrollment(Box<Enrollment>),
    /// A rated company.
    ThirdParty(Box<ThirdParty>),
}

impl Thing {
    /// What it is.
    pub fn kind(&self) -> ItemKind {
        match self {
            Thing::Asset(_) => ItemKind::Asset,
            Thing::Identity(_) => ItemKind::Identity,
            Thing::Membership(_) => ItemKind::Membership,
            Thing::Enrollment(_) => ItemKind::Enrollment,
            Thing::ThirdParty(_) => ItemKind::ThirdParty,
        }
    }

    /// Its key, unique among the things of its kind.
    pub fn key(&self) -> Cow<'_, str> {
        match self {
            Thing::Asset(asset) => Cow::Borrowed(&asset.key),
            Thing::Identity(identity) => Cow::Borrowed(&identity.key),
            Thing::Membership(membership) => Cow::Owned(membership.key()),
            Thing::Enrollment(enrollment) => Cow::Borrowed(&enrollment.identity),
            Thing::ThirdParty(party) => Cow::Borrowed(&party.key),
        }
    }
}

/// One host, device, repository, image, cloud resource or application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asset {
    /// The vendor's id, as findings name it in [`crate::model::Finding::asset_key`].
    pub key: Box<str>,
    /// Key of the record it belongs to, where the vendor says so.
    pub record: Option<Box<str>>,
    /// The vendor's kind of asset, such as `host`.
    pub kind: Box<str>,
    /// Its name, for people.
    pub name: Box<str>,
    /// What identifies it elsewhere: kind (`ipv4`, `fqdn`, `mac`, `instance_id`) and value.
    pub identifiers: Vec<(&'static str, Box<str>)>,
    /// Anything else worth showing: name and value. Only what stands still: a time that moves daily is none.
    pub attributes: Vec<(&'static str, Box<str>)>,
    /// The vendor's tags.
    pub tags: Vec<Box<str>>,
    /// Whether the vendor says that it was deleted or retired.
    pub gone: bool,
}

words! {
    /// What sort of identity.
    IdentityKind {
        /// A person of the organization.
        User = "user",
        /// A person of another organization.
        Guest = "guest",
        /// A program's own account.
        Service = "service",
        /// A group of identities.
        Group = "group",
        /// An application that identities are let into.
        Application = "application",
        /// A role that identities have.
        Role = "role",
    }
}

words! {
    /// Whether an identity can be used.
    AccountStatus {
        /// It can.
        Active = "active",
        /// Somebody switched it off.
        Disabled = "disabled",
        /// Too many attempts to log in.
        Locked = "locked",
        /// Put aside for a while.
        Suspended = "suspended",
        /// Not taken up yet.
        Pending = "pending",
        /// Deleted, and still listed.
        Deleted = "deleted",
        /// The vendor gives nothing that can be understood.
        Unknown = "unknown",
    }
}

/// A person, group, application or role.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The vendor's id.
    pub key: Box<str>,
    /// What sort.
    pub kind: IdentityKind,
    /// Its name, for people.
    pub name: Box<str>,
    /// The name with which it logs in.
    pub username: Option<Box<str>>,
    /// Mail address.
    pub email: Option<Box<str>>,
    /// Whether it can be used.
    pub status: AccountStatus,
    /// The vendor's word for that, verbatim.
    pub vendor_status: Option<Box<str>>,
    /// Key of the identity that manages it.
    pub manager: Option<Box<str>>,
    /// Anything else worth showing: name and value. Only what stands still.
    pub attributes: Vec<(&'static str, Box<str>)>,
    /// The vendor's tags.
    pub tags: Vec<Box<str>>,
    /// Whether the vendor says that it was deleted.
    pub gone: bool,
    /// When it was made, as the vendor says.
    pub created: Option<Timestamp>,
    /// When its password was changed last.
    pub password_changed: Option<Timestamp>,
    /// When it logged in last. That it moves is no change.
    pub last_login: Option<Timestamp>,
}

impl Identity {
    /// An identity of which nothing more is known: the base of a connector's struct literal.
    pub fn new(key: impl Into<Box<str>>, kind: IdentityKind, name: impl Into<Box<str>>) -> Self {
        Identity {
            key: key.into(),
            kind,
            name: name.into(),
            username: None,
            email: None,
            status: AccountStatus::Unknown,
            vendor_status: None,
            manager: None,
            attributes: Vec::new(),
            tags: Vec::new(),
            gone: false,
            created: None,
            password_changed: None,
            last_login: None,
        }
    }
}

words! {
    /// What somebody is a member of.
    MembershipKind {
        /// A group.
        Group = "group",
        /// An application.
        Application = "application",
        /// A role.
        Role = "role",
    }
}

/// That an identity is in a group, may use an application or has a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// What sort of container.
    pub kind: MembershipKind,
    /// Key of the group, application or role.
    pub container: Box<str>,
    /// Key of the identity.
    pub member: Box<str>,
    /// The name of the member in there, or what else tells it from others.
    pub label: Option<Box<str>>,
    /// The vendor's word for how it stands, verbatim.
    pub vendor_status: Option<Box<str>>,
    /// Whether the vendor says that it has ended.
    pub gone: bool,
}

impl Membership {
    /// `kind/container/member`. A slash in the container's key stands as `%2F`, so that no two memberships have one key.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.kind, self.container.replace('%', "%25").replace('/', "%2F"), self.member)
    }
}

/// What is known of a person's second factor. No row means unknown, never "none".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrollment {
    /// Key of the identity.
    pub identity: Box<str>,
    /// Whether it has one; `None` when the vendor does not say.
    pub enrolled: Option<bool>,
    /// Whether it is an administrator's; `None` when the vendor does not say.
    pub admin: Option<bool>,
    /// The factors, in the vendor's words.
    pub methods: Vec<Box<str>>,
    /// Whether the vendor says that it has ended.
    pub gone: bool,
}

/// A company that a service rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThirdParty {
    /// The vendor's id.
    pub key: Box<str>,
    /// Key of the record that stands for it.
    pub record: Option<Box<str>>,
    /// Its name, for people.
    pub name: Box<str>,
    /// Its main domain.
    pub domain: Option<Box<str>>,
    /// How it is rated; `None` when it is not.
    pub score: Option<Score>,
    /// What the rating is made of.
    pub factors: Vec<Factor>,
    /// Its trade.
    pub industry: Option<Box<str>>,
    /// Its country.
    pub country: Option<Box<str>>,
    /// Deep link into the service.
    pub url: Option<Box<str>>,
    /// Anything else worth showing: name and value. Only what stands still.
    pub attributes: Vec<(&'static str, Box<str>)>,
    /// The vendor's tags.
    pub tags: Vec<Box<str>>,
    /// Whether the vendor says that it left the portfolio.
    pub gone: bool,
}

/// A rating of a whole company.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// The vendor's number.
    pub value: f64,
    /// The lowest number there is on its scale.
    pub lowest: f64,
    /// The highest number there is on its scale.
    pub highest: f64,
    /// The vendor's grade, such as `B`.
    pub grade: Option<Box<str>>,
    /// When it was rated; `None` when the vendor does not say.
    pub at: Option<Timestamp>,
}

/// One part of a rating, on the scale of the whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factor {
    /// The vendor's name for it.
    pub name: Box<str>,
    /// The vendor's number.
    pub score: Option<f64>,
    /// The vendor's grade.
    pub grade: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_memberships_have_one_key() {
        let key = |container: &str, member: &str| {
            let (container, member, kind) = (container.into(), member.into(), MembershipKind::Group);
            Membership { kind, container, member, label: None, vendor_status: None, gone: false }.key()
        };
        assert_eq!(key("00g1", "00u1"), "group/00g1/00u1");
        assert_ne!(key("a/b", "c"), key("a", "b/c"));
        assert_ne!(key("a%2Fb", "c"), key("a/b", "c"));
    }
}
