//! Which of several operators leads: what to do next about the Lease, as a pure function of what was seen of it and when.
//!
//! The rules are those of client-go: nobody compares clocks. A Lease counts as expired when *this* process has seen it
//! unchanged for as long as its holder said it lasts, by this process's own monotonic clock. Must not talk to anybody; that
//! is `election`.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// How long things last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease lasts that is not renewed.
    pub duration: Duration,
    /// Who could not renew for this long stops leading: well before anybody else may begin.
    pub renew_deadline: Duration,
    /// Between two attempts to take or renew it.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What was seen of the Lease, and since when it has looked like that.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The Lease.
    pub lease: Lease,
    /// When this process first saw it like that.
    pub since: Instant,
}

impl Observation {
    /// Takes note of the Lease as it is now. Only a change of it counts as a sign of life of its holder.
    #[must_use]
    pub fn of(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        match before {
            Some(before) if before.lease.spec == lease.spec => Self { lease, since: before.since },
            _ => Self { lease, since: now },
        }
    }

    /// Who holds it; `None` when it was given back.
    pub fn holder(&self) -> Option<&str> {
        let holder = self.lease.spec.as_ref()?.holder_identity.as_deref()?;
        Some(holder).filter(|holder| !holder.is_empty())
    }

    /// When it expires unless it changes.
    fn expiry(&self, timing: Timing) -> Instant {
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        self.since + duration.unwrap_or(timing.duration)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// There is none: create it.
    Create(Lease),
    /// It is ours, expired or free: replace it. Carries the resource version that was seen, so that of two who try only one
    /// succeeds.
    Replace(Lease),
    /// Somebody else holds it; not before this instant can it expire.
    Wait(Instant),
}

/// What `me` does next about the Lease.
pub fn decide(
    name: &str,
    me: &str,
    seen: Option<&Observation>,
    timing: Timing,
    now: Instant,
    clock: Timestamp,
) -> Step {
    let Some(seen) = seen else {
        let mut lease = Lease { spec: Some(held(me, timing, 0, clock, clock)), ..Lease::default() };
        lease.metadata.name = Some(name.to_owned());
        return Step::Create(lease);
    };
    let before = seen.lease.spec.clone().unwrap_or_default();
    let transitions = before.lease_transitions.unwrap_or(0);
    let spec = match seen.holder() {
        Some(holder) if holder == me => {
            let acquired = before.acquire_time.map_or(clock, |time| time.0);
            held(me, timing, transitions, acquired, clock)
        }
        Some(_) if now < seen.expiry(timing) => return Step::Wait(seen.expiry(timing)),
        _ => held(me, timing, transitions.saturating_add(1), clock, clock),
    };
    Step::Replace(replacement(&seen.lease, spec))
}

/// The Lease given back, so that another may take it at once; `None` when it is not ours.
pub fn released(me: &str, seen: &Observation, clock: Timestamp) -> Option<Lease> {
    if seen.holder() != Some(me) {
        return None;
    }
    let before = seen.lease.spec.clone().unwrap_or_default();
    let spec = LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(clock)),
        ..before
    };
    Some(replacement(&seen.lease, spec))
}

fn held(me: &str, timing: Timing, transitions: i32, acquired: Timestamp, renewed: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(i32::try_from(timing.duration.as_secs()).unwrap_or(i32::MAX)),
        lease_transitions: Some(transitions),
        acquire_time: Some(MicroTime(acquired)),
        renew_time: Some(MicroTime(renewed)),
        ..LeaseSpec::default()
    }
}

/// Metadata is taken over whole: the resource version in it is what makes the write conditional.
fn replacement(seen: &Lease, spec: LeaseSpec) -> Lease {
    Lease { metadata: seen.metadata.clone(), spec: Some(spec) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn lease(holder: &str, version: &str, renewed: i64) -> Lease {
        let at = Timestamp::from_second(renewed).unwrap();
        let mut lease = Lease { spec: Some(held(holder, TIMING, 3, at, at)), ..Lease::default() };
        lease.metadata.name = Some("camera-operator".into());
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    fn step(me: &str, seen: Option<&Observation>, now: Instant) -> Step {
        decide("camera-operator", me, seen, TIMING, now, Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn nobody_made_one_yet() {
        let Step::Create(lease) = step("a", None, Instant::now()) else { panic!() };
        assert_eq!(lease.metadata.name.as_deref(), Some("camera-operator"));
        assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("a"));
    }

    #[test]
    fn the_own_one_is_renewed_under_the_version_seen() {
        let now = Instant::now();
        let seen = Observation::of(None, lease("a", "7", 500), now);
        let Step::Replace(next) = step("a", Some(&seen), now) else { panic!() };
        let spec = next.spec.unwrap();
        assert_eq!(next.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(spec.lease_transitions, Some(3), "renewing is no transition");
        assert_eq!(spec.acquire_time.unwrap().0, Timestamp::from_second(500).unwrap());
        assert_eq!(spec.renew_time.unwrap().0, Timestamp::from_second(1000).unwrap());
    }

    #[test]
    fn anothers_is_waited_for_by_the_own_clock_whatever_the_time_in_it_says() {
        let now = Instant::now();
        // Renewed in the year 1970 by the holder's clock, and just seen for the first time.
        let seen = Observation::of(None, lease("b", "7", 0), now);
        assert_eq!(step("a", Some(&seen), now), Step::Wait(now + TIMING.duration));
        let late = now + TIMING.duration;
        let Step::Replace(next) = step("a", Some(&seen), late) else { panic!() };
        assert_eq!(next.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(next.spec.unwrap().lease_transitions, Some(4));
    }

    #[test]
    fn only_a_change_is_a_sign_of_life() {
        let now = Instant::now();
        let first = Observation::of(None, lease("b", "7", 10), now);
        let same = Observation::of(Some(first.clone()), lease("b", "8", 10), now + Duration::from_secs(9));
        assert_eq!(same.since, now, "somebody labelled it; its holder did nothing");
        assert_eq!(same.lease.metadata.resource_version.as_deref(), Some("8"), "a write needs the newest version");
        let renewed = Observation::of(Some(same), lease("b", "9", 12), now + Duration::from_secs(10));
        assert_eq!(renewed.since, now + Duration::from_secs(10));
    }

    #[test]
    fn one_given_back_is_taken_at_once() {
        let now = Instant::now();
        let seen = Observation::of(None, lease("b", "7", 10), now);
        assert_eq!(released("a", &seen, Timestamp::UNIX_EPOCH), None, "nobody gives back another's");
        let free = released("b", &seen, Timestamp::from_second(20).unwrap()).unwrap();
        assert_eq!(free.metadata.resource_version.as_deref(), Some("7"));
        let seen = Observation::of(Some(seen), free, now);
        assert_eq!(seen.holder(), None);
        assert!(matches!(step("a", Some(&seen), now), Step::Replace(_)));
    }

    #[test]
    fn a_leader_stops_before_another_may_begin() {
        let timing = Timing::default();
        assert!(timing.renew_deadline + timing.retry < timing.duration);
    }
}
