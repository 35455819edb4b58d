//! A cluster's token issuer: a key pair of its own, its public half as a JWK set, and tokens as the API server makes them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// What tokens say of their issuer.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// What agents ask tokens to be for.
pub const AUDIENCE: &str = "camera-operator.dev/agent";

/// base64url without padding (RFC 7515 §2).
fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// See the module.
pub struct Issuer {
    pair: EcdsaKeyPair,
}

impl Issuer {
    /// With a fresh key pair.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { pair }
    }

    /// Its JWK set.
    pub fn keys(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": base64url(x), "y": base64url(y)}]})
    }

    /// A token of a ServiceAccount (`namespace:name`) that is good for so many seconds from now (or since, if negative).
    pub fn token(&self, account: &str, seconds: i64) -> String {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "sub": format!("system:serviceaccount:{account}"),
            "iat": now,
            "exp": now + seconds,
        });
        let header = json!({"alg": "ES256", "kid": "1"}).to_string();
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(signature.as_ref()))
    }
}
