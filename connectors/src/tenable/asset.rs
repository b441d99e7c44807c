//! Assets: the wire form and what it means.

use serde::Deserialize;

use crate::{
    Item,
    kit::{Scalar, Texts, or_default},
    model::{Asset, Thing, text},
};

#[derive(Deserialize)]
pub(super) struct KnownHost {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Host {
    id: String,
    #[serde(default)]
    types: Texts,
    is_licensed: Option<bool>,
    is_deleted: Option<bool>,
    #[serde(default)]
    system_types: Texts,
    #[serde(default)]
    operating_systems: Texts,
    #[serde(default, deserialize_with = "or_default")]
    timestamps: Times,
    #[serde(default, deserialize_with = "or_default")]
    network: Network,
    cloud: Option<Cloud>,
    ratings: Option<Ratings>,
    tags: Option<Vec<Tag>>,
}

#[derive(Default, Deserialize)]
struct Times {
    deleted_at: Option<String>,
    terminated_at: Option<String>,
}

#[derive(Default, Deserialize)]
struct Network {
    network_name: Option<String>,
    #[serde(default)]
    ipv4s: Texts,
    #[serde(default)]
    ipv6s: Texts,
    #[serde(default)]
    fqdns: Texts,
    #[serde(default)]
    hostnames: Texts,
    #[serde(default)]
    mac_addresses: Texts,
    #[serde(default)]
    netbios_names: Texts,
}

#[derive(Deserialize)]
struct Cloud {
    aws: Option<Instance>,
    azure: Option<Instance>,
    gcp: Option<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(alias = "ec2_instance_id", alias = "vm_id")]
    instance_id: Option<String>,
}

#[derive(Deserialize)]
struct Ratings {
    acr: Option<Rating>,
}

#[derive(Deserialize)]
struct Rating {
    #[serde(default)]
    score: Scalar,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    key: Scalar,
    #[serde(default)]
    value: Scalar,
}

pub(super) fn asset(host: Host) -> Item {
    // Order means nothing here, and a list that comes in another order has not changed.
    let list = |list: Texts| list.sorted().into_iter().filter_map(text::clean).collect::<Vec<_>>();
    let network = host.network;
    let instances = host.cloud.into_iter().flat_map(|cloud| [cloud.aws, cloud.azure, cloud.gcp]).flatten();
    let names = [
        ("fqdn", list(network.fqdns)),
        ("hostname", list(network.hostnames)),
        ("netbios", list(network.netbios_names)),
        ("ipv4", list(network.ipv4s)),
        ("ipv6", list(network.ipv6s)),
        ("mac", list(network.mac_addresses)),
        ("instance_id", list(Texts(instances.filter_map(|instance| instance.instance_id).collect()))),
    ];
    let name = names.iter().find_map(|(_, list)| list.first()).cloned().unwrap_or_else(|| host.id.as_str().into());
    let kinds = host.types.sorted();
    let kind = kinds.iter().find(|kind| **kind == "host").or(kinds.first());
    let licensed = host.is_licensed.map(|yes| if yes { "yes" } else { "no" }.to_owned());
    let rating = host.ratings.and_then(|ratings| ratings.acr?.score.0);
    let single = [("network", network.network_name), ("licensed", licensed), ("asset_criticality", rating)];
    let many = [("operating_system", list(host.operating_systems)), ("system_type", list(host.system_types))];
    let single = single.into_iter().filter_map(|(name, value)| Some((name, text::clean(&value?)?)));
    let tags =
        host.tags.into_iter().flatten().map(|tag| [tag.key.text().unwrap_or_default(), tag.value.text().unwrap_or_default()].join(":"));
    let ended = |time: &Option<String>| time.as_deref().and_then(text::time).is_some();
    Item::Thing(Thing::Asset(Box::new(Asset {
        kind: kind.map_or("host".into(), |kind| text::single_line(kind)),
        name: text::single_line(&name),
        identifiers: names.into_iter().flat_map(|(name, list)| list.into_iter().map(move |value| (name, value))).collect(),
        attributes: many.into_iter().flat_map(|(name, list)| list.into_iter().map(move |value| (name, value))).chain(single).collect(),
        tags: list(Texts(tags.collect())),
        gone: host.is_deleted == Some(true) || ended(&host.timestamps.deleted_at) || ended(&host.timestamps.terminated_at),
        key: host.id.into(),
        record: None,
    })))
}
