//! Who may call.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Name of the Secret that holds what is kept of the keys of a namespace's callers.
pub const KEYS_SECRET: &str = "quartermaster-api-keys";

/// Who may call.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.anonymous) && self.anonymous && has(self.allow) && size(self.allow) > 0)")
        .message("spec.access.allow lists callers, but spec.access.anonymous lets everybody in; remove one of them"),
    validation = Rule::new("has(self.oidc) || !has(self.allow) || !self.allow.exists(n, n.startsWith('oidc:'))")
        .message("spec.access.allow lists callers of an issuer, oidc:NAME, but spec.access.oidc names none; add it")
)]
pub struct Access {
    /// Callers need not say who they are: whoever reaches the router may call. What is shown all the same has to be right, so
    /// that no request goes by a name that is not its own.
    #[serde(default)]
    pub anonymous: bool,
    /// The callers that are let in: the holder of an API key of the policy's namespace by the key's name, `team-a`; a
    /// ServiceAccount as `sa:NAME`, or of another namespace as `sa:NAMESPACE:NAME` or `system:serviceaccount:NAMESPACE:NAME`;
    /// a caller of `oidc` as `oidc:NAME`. A trailing `*` stands for any rest of the same kind: `team-a-*`, `sa:apps:*`,
    /// `oidc:*`. Default: every key and every ServiceAccount of the policy's namespace, and every caller of `oidc`.
    #[x_kube(
        validation = Rule::new("self.all(n, !n.contains('*') || n.indexOf('*') == size(n) - 1)")
            .message("spec.access.allow may hold '*' only as the last character of a name, for example team-a-*"),
        validation = Rule::new("self.all(n, !n.contains(':') || n.matches('^(sa:([^:]+:)?[^:]+|system:serviceaccount:[^:]+:[^:]+|oidc:.+)$'))")
            .message("spec.access.allow names a holder of an API key by the key's name, a ServiceAccount as sa:NAME or sa:NAMESPACE:NAME, and a caller of spec.access.oidc as oidc:NAME")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow: Vec<String>,
    /// An issuer of tokens (OpenID Connect, JWT) whose callers may call too. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
}

/// An issuer of tokens, and which of them are taken.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// The issuer's URL, letter for letter as its tokens have it in `iss`. Where `jwksUri` is not set, its description is read
    /// at `/.well-known/openid-configuration` below it. Where the router may connect to is said for providers: docs/providers.md.
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@ ]+(/[^?#@ ]*)?$')")
            .message("spec.access.oidc.issuer must be http:// or https://, a host, a port if need be, and a path; no user, query or fragment")
    )]
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// A token is taken whose `aud` is, or holds, one of these.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    pub audiences: Vec<String>,
    /// Where the issuer's public keys are (JWKS). Default: where its description says.
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@ ]+(/[^#@ ]*)?$')")
            .message("spec.access.oidc.jwksUri must be http:// or https://, a host, a port if need be, and a path; no user or fragment")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub jwks_uri: Option<String>,
    /// The claim that names the caller; the caller's name is then `oidc:` and its value. With `email`, a token whose
    /// `email_verified` is false is refused. Default: `sub`.
    #[serde(default = "caller_claim")]
    #[schemars(length(min = 1, max = 64))]
    pub caller_claim: String,
}

fn caller_claim() -> String {
    "sub".to_owned()
}
