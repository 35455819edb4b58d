//! Who may ask this agent for what. A caller presents a ServiceAccount token (a JWT); it is verified offline against the keys
//! that the plan holds, so that it works while the API server is away. Must not read files, and must never log or answer with
//! a token or any part of one.
//!
//! | asked for | who may |
//! | --- | --- |
//! | `/healthz`, `/readyz`, `/metrics` | everybody: kubelet and Prometheus present nothing |
//! | `/live/…`, `/recordings/…` | the plan's `media` and `control` subjects; this very pod (`kubectl port-forward`), unless it has its node's network |
//! | everything else | the plan's `control` subjects |

pub mod gate;
mod ring;

use std::collections::BTreeSet;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use thiserror::Error;

use crate::plan::unit::Access;

/// How far the clocks of two machines may be apart, seconds.
const LEEWAY: u64 = 60;
/// Longer than any ServiceAccount token; what is longer is not looked at.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Why a plan's access rules cannot be used.
#[derive(Debug, Error)]
pub enum KeysError {
    /// Not a JWK set.
    #[error("access.keys is no JWK set (RFC 7517): {0}")]
    NotASet(String),
    /// Nothing in it can verify a token.
    #[error(
        "access.keys holds no RSA, P-256, P-384 or Ed25519 key; take what the API server serves at /openid/v1/jwks"
    )]
    NoKey,
}

/// Why a caller is refused. The texts name what is missing and hold nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No `Authorization` header.
    #[error("Send a ServiceAccount token with audience `{audience}`, as in `Authorization: Bearer …`.")]
    Missing {
        /// What the token must be for.
        audience: String,
    },
    /// Not a JWT, or of an algorithm or a key that is not this cluster's.
    #[error("The token is not signed by a key of this cluster.")]
    Foreign,
    /// Past its time.
    #[error("The token has expired; read it anew from its file.")]
    Expired,
    /// Before its time.
    #[error("The token is not valid yet; compare the clocks of both machines.")]
    Early,
    /// For somebody else.
    #[error("The token is not for audience `{audience}`.")]
    Audience {
        /// What it must be for.
        audience: String,
    },
    /// Of another cluster.
    #[error("The token was not issued by `{issuer}`.")]
    Issuer {
        /// Who must have issued it.
        issuer: String,
    },
    /// A required claim is missing or of the wrong type.
    #[error("The token lacks a claim: iss, aud, sub and exp must be there.")]
    Incomplete,
    /// Verified, but not allowed.
    #[error("`{subject}` may not ask for this; the operator's plan lists who may.")]
    Subject {
        /// Who asks.
        subject: String,
    },
}

impl Refusal {
    /// Whether the caller is known and just not allowed (403), rather than not known (401).
    pub const fn is_known_caller(&self) -> bool {
        matches!(self, Self::Subject { .. })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Probes and metrics.
    Open,
    /// Live and recorded media.
    Media,
    /// The rest.
    Control,
}

impl Area {
    /// Where a path belongs.
    pub fn of(path: &str) -> Self {
        match path {
            "/healthz" | "/readyz" | "/metrics" => Self::Open,
            _ if path.starts_with("/live/") || path.starts_with("/recordings/") => Self::Media,
            _ => Self::Control,
        }
    }
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
}

/// Verifies tokens by a plan's rules.
pub struct Verifier {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    control: BTreeSet<String>,
    media: BTreeSet<String>,
    host_network: bool,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Verifier").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The claims that matter here; the library looks at the others.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
}

impl Verifier {
    /// From a plan's rules.
    ///
    /// # Errors
    /// When no token could ever be verified.
    pub fn new(access: &Access) -> Result<Self, KeysError> {
        ring::install();
        let set: JwkSet =
            serde_json::from_value(access.keys.clone()).map_err(|error| KeysError::NotASet(error.to_string()))?;
        // Keys of kinds that are not known here verify nothing, and must not keep the others from it.
        let keys: Vec<Key> = set.keys.iter().filter_map(key_of).collect();
        if keys.is_empty() {
            return Err(KeysError::NoKey);
        }
        Ok(Self {
            keys,
            issuer: access.issuer.clone(),
            audience: access.audience.clone(),
            control: access.control.iter().cloned().collect(),
            media: access.media.iter().cloned().collect(),
            host_network: access.host_network,
        })
    }

    /// Whether callers on loopback are in this pod: not when it has its node's network, where everything on the node is there.
    pub const fn trusts_loopback(&self) -> bool {
        !self.host_network
    }

    /// Whether the bearer of `token` may have what is asked for.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, token: Option<&str>, area: Area) -> Result<(), Refusal> {
        if area == Area::Open {
            return Ok(());
        }
        let token = token.ok_or_else(|| Refusal::Missing { audience: self.audience.clone() })?;
        let subject = self.subject(token)?;
        let allowed = self.control.contains(&subject) || area == Area::Media && self.media.contains(&subject);
        if allowed { Ok(()) } else { Err(Refusal::Subject { subject }) }
    }

    /// Who a token says its bearer is.
    fn subject(&self, token: &str) -> Result<String, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Foreign);
        }
        let header = decode_header(token).map_err(|_| Refusal::Foreign)?;
        // The key says which algorithm, never the token: else a public key could be taken for a shared secret.
        let fitting = self.keys.iter().filter(|key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        });
        let mut refusal = Refusal::Foreign;
        for key in fitting {
            match decode::<Claims>(token, &key.public, &self.validation(key.algorithm)) {
                Ok(token) => return Ok(token.claims.sub),
                Err(error) => match self.refusal(error.kind()) {
                    Refusal::Foreign => {}
                    other => refusal = other,
                },
            }
        }
        Err(refusal)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation
    }

    fn refusal(&self, error: &ErrorKind) -> Refusal {
        match error {
            ErrorKind::ExpiredSignature => Refusal::Expired,
            ErrorKind::ImmatureSignature => Refusal::Early,
            ErrorKind::InvalidAudience => Refusal::Audience { audience: self.audience.clone() },
            ErrorKind::InvalidIssuer => Refusal::Issuer { issuer: self.issuer.clone() },
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
                Refusal::Incomplete
            }
            _ => Refusal::Foreign,
        }
    }
}

/// A key that can verify, with the one algorithm that it is for.
fn key_of(jwk: &Jwk) -> Option<Key> {
    let named = jwk.common.key_algorithm;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => match named {
            None | Some(KeyAlgorithm::RS256) => Algorithm::RS256,
            Some(KeyAlgorithm::RS384) => Algorithm::RS384,
            Some(KeyAlgorithm::RS512) => Algorithm::RS512,
            Some(_) => return None,
        },
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        // A shared secret has no place among public keys.
        _ => return None,
    };
    Some(Key { id: jwk.common.key_id.clone(), algorithm, public: DecodingKey::from_jwk(jwk).ok()? })
}

#[cfg(test)]
mod tests;
