//! Tokens of ServiceAccounts: JSON Web Tokens (ES256), signed with a key of this cluster's own.
//!
//! Here they are made, read and checked as texts: signature, issuer, audience, time. Whether the account and what the token is
//! bound to are still there is [`crate::authenticate`]'s to ask.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::pki::{PkiError, write_private};

/// Clocks of one machine do not differ; those of nodes may.
const LEEWAY: i64 = 60;
/// No token is longer; it is not looked at.
const MAX_LENGTH: usize = 16 << 10;

/// The key that signs tokens, and its public part.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    /// `kid` in tokens: a hash of the public part.
    id: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] PkiError),
    #[error("{path} is no private key for tokens (ECDSA P-256, PKCS #8); remove it to make a new one")]
    Load { path: PathBuf },
    #[error("a key for tokens cannot be made")]
    Make(#[source] rcgen::Error),
}

/// Why a token is none of ours, or not for us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidToken {
    #[error("token is no JSON Web Token")]
    Form,
    #[error("token is not signed by this cluster")]
    Signature,
    #[error("token is of another issuer")]
    Issuer,
    #[error("token audiences {0:?} is invalid for the target audiences")]
    Audience(Vec<String>),
    #[error("token has expired")]
    Expired,
    #[error("token is not valid yet")]
    Early,
}

impl TokenKey {
    /// The key in `DIR/sa.key`, made there (mode 0600) where it is missing.
    pub fn load_or_create(directory: &Path) -> Result<Self, TokenKeyError> {
        let path = directory.join("sa.key");
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = rcgen::KeyPair::generate().map_err(TokenKeyError::Make)?.serialize_pem();
                write_private(&path, &pem)?;
                pem
            }
            Err(source) => return Err(TokenKeyError::Read { path, source }),
        };
        Self::from_pem(&pem).ok_or(TokenKeyError::Load { path })
    }

    /// A key that is kept nowhere: for tests and throw-away servers.
    pub fn create() -> Result<Self, TokenKeyError> {
        let pem = rcgen::KeyPair::generate().map_err(TokenKeyError::Make)?.serialize_pem();
        Self::from_pem(&pem).ok_or(TokenKeyError::Load { path: PathBuf::new() })
    }

    fn from_pem(pem: &str) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random).ok()?;
        let id = encode(&Sha256::digest(pair.public_key().as_ref()));
        Some(Self { pair, id })
    }

    /// The token that states `claims`.
    pub(crate) fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({"alg": "ES256", "kid": self.id});
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", encode(signature.as_ref())))
    }

    /// What a token of this key states, if `issuer` made it for one of `audiences` and it is valid `now`.
    pub(crate) fn read(
        &self,
        token: &str,
        issuer: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Value, InvalidToken> {
        let parts = token.split('.').collect::<Vec<_>>();
        let [header, claims, signature] = parts.as_slice() else { return Err(InvalidToken::Form) };
        if token.len() > MAX_LENGTH {
            return Err(InvalidToken::Form);
        }
        let json = |part: &str| -> Option<Value> { serde_json::from_slice(&decode(part)?).ok() };
        let stated = json(header).ok_or(InvalidToken::Form)?;
        if stated["alg"] != "ES256" {
            return Err(InvalidToken::Signature);
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        let signature = decode(signature).ok_or(InvalidToken::Form)?;
        let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
        key.verify(signed, &signature).map_err(|_| InvalidToken::Signature)?;
        let claims = json(claims).ok_or(InvalidToken::Form)?;
        check(&claims, issuer, audiences, now)?;
        Ok(claims)
    }

    /// `/openid/v1/jwks`: the public part, for others who check tokens.
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point: one byte, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let key = json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": encode(x), "y": encode(y),
        });
        json!({"keys": [key]})
    }
}

fn check(claims: &Value, issuer: &str, audiences: &[String], now: Timestamp) -> Result<(), InvalidToken> {
    if claims["iss"] != issuer {
        return Err(InvalidToken::Issuer);
    }
    let stated = token_audiences(claims);
    if !stated.iter().any(|audience| audiences.contains(audience)) {
        return Err(InvalidToken::Audience(stated));
    }
    let now = now.as_second();
    let time = |claim: &str| claims[claim].as_i64().unwrap_or_default();
    if time("exp") < now {
        return Err(InvalidToken::Expired);
    }
    if time("nbf") > now + LEEWAY {
        return Err(InvalidToken::Early);
    }
    Ok(())
}

/// `aud` of a token.
pub(crate) fn token_audiences(claims: &Value) -> Vec<String> {
    let listed = claims["aud"].as_array().into_iter().flatten();
    listed.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn tokens_are_good_for_their_key_audience_and_time_alone() {
        let (key, other) = (TokenKey::create().unwrap(), TokenKey::create().unwrap());
        let now = Timestamp::from_second(1_000_000).unwrap();
        let claims = json!({"iss": "us", "aud": ["a", "b"], "exp": 1_000_100, "nbf": 1_000_000, "sub": "x"});
        let token = key.sign(&claims).unwrap();
        let read = |key: &TokenKey, token: &str, issuer: &str, audience: &str, second: i64| {
            key.read(token, issuer, &[audience.to_owned()], Timestamp::from_second(second).unwrap())
        };
        assert_eq!(read(&key, &token, "us", "b", now.as_second()), Ok(claims));
        assert_eq!(read(&other, &token, "us", "b", 1_000_000), Err(InvalidToken::Signature));
        assert_eq!(read(&key, &token, "them", "b", 1_000_000), Err(InvalidToken::Issuer));
        let audiences = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(read(&key, &token, "us", "c", 1_000_000), Err(InvalidToken::Audience(audiences)));
        assert_eq!(read(&key, &token, "us", "b", 1_000_101), Err(InvalidToken::Expired));
        assert_eq!(read(&key, &token, "us", "b", 999_000), Err(InvalidToken::Early));
        for wrong in ["", "a.b", "a.b.c.d", "!.!.!"] {
            assert_eq!(read(&key, wrong, "us", "b", 1_000_000), Err(InvalidToken::Form), "{wrong}");
        }
        let none = format!("{}.{}.", encode(br#"{"alg":"none"}"#), token.split('.').nth(1).unwrap());
        assert_eq!(read(&key, &none, "us", "b", 1_000_000), Err(InvalidToken::Signature));
        let (start, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{}.{signature}", start.replace('.', ".A"));
        assert!(read(&key, &forged, "us", "b", 1_000_000).is_err());
    }

    #[test]
    fn the_key_is_kept_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let made = TokenKey::load_or_create(directory.path()).unwrap();
        let found = TokenKey::load_or_create(directory.path()).unwrap();
        assert_eq!(made.id, found.id);
        let mode = fs::metadata(directory.path().join("sa.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(made.key_set()["keys"][0]["kid"], found.id);
    }
}
