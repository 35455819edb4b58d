//! Processor and memory of a container: the settings' defaults, what `spec.pod.resources` says over them, and devices.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::pod::{Amounts, DeviceResource, Resources};

/// What a container gets. Where only one of request and limit is overridden, the other gives way: a default limit grows up to
/// the wanted request, a default request shrinks down to the wanted limit.
pub fn resources(defaults: &Resources, wanted: Option<&Resources>, devices: &[DeviceResource]) -> ResourceRequirements {
    let none = Resources::default();
    let wanted = wanted.unwrap_or(&none);
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for resource in [Resource::Cpu, Resource::Memory] {
        let wanted_request = resource.of(wanted.requests.as_ref());
        let wanted_limit = resource.of(wanted.limits.as_ref());
        let mut request = wanted_request.clone().or_else(|| resource.of(defaults.requests.as_ref()));
        let mut limit = wanted_limit.clone().or_else(|| resource.of(defaults.limits.as_ref()));
        if let (Some(least), Some(most)) = (&request, &limit)
            && resource.thousandths(least) > resource.thousandths(most)
        {
            // Where a person has set both, the schema has seen to their order.
            if wanted_limit.is_some() {
                request.clone_from(&limit);
            } else {
                limit.clone_from(&request);
            }
        }
        requests.extend(request.map(|amount| (resource.name().to_owned(), Quantity(amount))));
        limits.extend(limit.map(|amount| (resource.name().to_owned(), Quantity(amount))));
    }
    for device in devices {
        // Devices cannot be overcommitted: Kubernetes wants both, and equal.
        let count = Quantity(device.count.unwrap_or(1).to_string());
        requests.insert(device.name.clone(), count.clone());
        limits.insert(device.name.clone(), count);
    }
    ResourceRequirements {
        requests: (!requests.is_empty()).then_some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        claims: None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn of(self, amounts: Option<&Amounts>) -> Option<String> {
        match self {
            Self::Cpu => amounts?.cpu.clone(),
            Self::Memory => amounts?.memory.as_ref().map(ToString::to_string),
        }
    }

    /// For comparison only. What is no amount was refused by the schema, and counts as nothing.
    fn thousandths(self, amount: &str) -> u64 {
        match self {
            Self::Cpu => cpu_thousandths(amount).unwrap_or(0),
            Self::Memory => amount.parse().map_or(0, |amount: crate::api::Quantity| amount.value()),
        }
    }
}

/// `500m` is 500, `2` is 2000, `0.25` is 250.
fn cpu_thousandths(amount: &str) -> Option<u64> {
    if let Some(thousandths) = amount.strip_suffix('m') {
        return thousandths.parse().ok();
    }
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let fraction: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(whole.parse::<u64>().ok()? * 1000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(request: (&str, &str), limit: (&str, &str)) -> Resources {
        let amounts = |(cpu, memory): (&str, &str)| Amounts {
            cpu: (!cpu.is_empty()).then(|| cpu.to_owned()),
            memory: memory.parse().ok(),
        };
        Resources { requests: Some(amounts(request)), limits: Some(amounts(limit)) }
    }

    fn said(resources: &ResourceRequirements) -> String {
        let text = |amounts: &Option<BTreeMap<String, Quantity>>| {
            let amounts = amounts.iter().flatten().map(|(name, amount)| format!("{name} {}", amount.0));
            amounts.collect::<Vec<_>>().join(" ")
        };
        format!("{} / {}", text(&resources.requests), text(&resources.limits))
    }

    #[test]
    fn what_is_wanted_goes_before_what_is_by_default() {
        let defaults = of(("50m", "64Mi"), ("", "512Mi"));
        for (wanted, expected) in [
            (of(("", ""), ("", "")), "cpu 50m memory 64Mi / memory 512Mi"),
            (of(("2", ""), ("", "")), "cpu 2 memory 64Mi / memory 512Mi"),
            (of(("", "1Gi"), ("", "")), "cpu 50m memory 1Gi / memory 1Gi"),
            (of(("", ""), ("", "32Mi")), "cpu 50m memory 32Mi / memory 32Mi"),
            (of(("", ""), ("0.02", "")), "cpu 0.02 memory 64Mi / cpu 0.02 memory 512Mi"),
            (of(("100m", "128Mi"), ("1", "256Mi")), "cpu 100m memory 128Mi / cpu 1 memory 256Mi"),
        ] {
            assert_eq!(said(&resources(&defaults, Some(&wanted), &[])), expected);
        }
        let device = DeviceResource { name: "squat.ai/video".into(), count: None };
        assert_eq!(
            said(&resources(&Resources::default(), None, &[device])),
            "squat.ai/video 1 / squat.ai/video 1",
            "a device is asked for and granted"
        );
    }

    #[test]
    fn amounts_of_processor() {
        let amounts = ["500m", "2", "0.5", "1.25", "0.005"].map(cpu_thousandths);
        assert_eq!(amounts, [Some(500), Some(2000), Some(500), Some(1250), Some(5)]);
        assert_eq!(cpu_thousandths("many"), None);
    }
}
