//! Reads a plan as another program wrote it: its version first, so that one that is too new is named as such and not taken for
//! rubbish. Pure; must not know where plans are kept.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::unit::{PLAN_VERSION, Plan, hex};

/// The oldest version that is still read: the one before ours, so that control plane and data plane can be upgraded one after
/// the other.
pub const OLDEST_VERSION: i32 = if PLAN_VERSION > 1 { PLAN_VERSION - 1 } else { 1 };

/// Why a plan cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// No JSON, or no plan.
    #[error("the plan cannot be read: {0}")]
    Malformed(String),
    /// Written by a program that is too far from this one.
    #[error("the plan is of version {found}, and this agent reads {OLDEST_VERSION} to {PLAN_VERSION}; {advice}")]
    Version {
        /// What it says.
        found: i32,
        /// What to do.
        advice: &'static str,
    },
}

/// A plan that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    /// The plan.
    pub plan: Plan,
    /// [`Plan::hash`] as its writer computes it, also when the writer knows fields that this program does not.
    pub hash: String,
}

#[derive(Deserialize)]
struct Version {
    version: i32,
}

/// Reads a plan's JSON.
///
/// # Errors
/// When it is no plan, or of a version that is not read here.
pub fn read(json: &[u8]) -> Result<ReadPlan, ReadError> {
    let malformed = |error: serde_json::Error| ReadError::Malformed(error.to_string());
    let document: serde_json::Value = serde_json::from_slice(json).map_err(malformed)?;
    let Version { version } = Version::deserialize(&document).map_err(malformed)?;
    if version > PLAN_VERSION {
        return Err(ReadError::Version { found: version, advice: "give its pod the operator's image" });
    }
    if version < OLDEST_VERSION {
        return Err(ReadError::Version { found: version, advice: "upgrade the operator" });
    }
    // However it was laid out, the writer's hash is that of the compact text; members keep their order.
    let compact = serde_json::to_vec(&document).map_err(malformed)?;
    let plan = serde_json::from_value(document).map_err(malformed)?;
    Ok(ReadPlan { plan, hash: hex(&Sha256::digest(compact)) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::unit::Access;

    fn plan() -> Plan {
        let access = Access {
            issuer: "https://cluster".into(),
            audience: "camera-operator.dev/agent".into(),
            keys: json!({"keys": [{"kty": "OKP", "kid": "b", "alg": "EdDSA"}]}),
            control: vec!["system:serviceaccount:a:b".into()],
            media: Vec::new(),
            host_network: false,
        };
        Plan { access: Some(access), ..Plan::new("door-camera") }
    }

    #[test]
    fn the_hash_is_the_writers_whatever_the_layout_and_what_it_knows_more() {
        let plan = plan();
        for text in [serde_json::to_vec(&plan), serde_json::to_vec_pretty(&plan)] {
            let read = read(&text.expect("json")).expect("a plan");
            assert_eq!((&read.plan, read.hash), (&plan, plan.hash()));
        }
        let mut newer = serde_json::to_value(&plan).expect("json");
        newer["invented"] = json!(1);
        let text = newer.to_string();
        let read = read(text.as_bytes()).expect("a field more is no harm");
        assert_eq!(read.plan, plan);
        assert_eq!(read.hash, hex(&Sha256::digest(text)), "as its writer sees it");
    }

    #[test]
    fn what_is_no_plan_is_named() {
        let with = |version: i32| json!({"version": version, "agent": "a", "units": []}).to_string();
        assert!(read(with(PLAN_VERSION).as_bytes()).is_ok());
        assert!(read(with(OLDEST_VERSION).as_bytes()).is_ok());
        let newer = read(with(PLAN_VERSION + 1).as_bytes()).expect_err("too new").to_string();
        assert!(newer.contains(&format!("version {}", PLAN_VERSION + 1)) && newer.contains("image"), "{newer}");
        assert!(read(with(OLDEST_VERSION - 1).as_bytes()).is_err());
        for text in ["", "{", "[]", "{}", r#"{"version":1,"agent":"a","units":[{}]}"#] {
            assert!(matches!(read(text.as_bytes()), Err(ReadError::Malformed(_))), "{text}");
        }
    }
}
