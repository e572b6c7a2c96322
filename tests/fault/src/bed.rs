//! Where the proofs run: a cluster with the CRDs on it, a namespace for each case, and operators as processes of this
//! machine, each behind a proxy of its own.

mod operator;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

pub use operator::Operator;

use crate::apifault;
use crate::dump::Kind;
use crate::server::{Failure, Server, Unusable};

/// Who changes pools in the proofs: the name of the field manager.
pub const PERSON: &str = "person";

/// The form of a patch.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// What is given replaces what is there, null removes.
    Merge,
    /// A list of operations.
    Json,
    /// A server-side apply, which takes fields over from others.
    Apply,
}

/// What stops a case before it can be judged.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Trouble {
    #[error("{0}")]
    Server(#[from] Failure),
    #[error("{0}")]
    Late(#[from] crate::Late),
    #[error("{0}")]
    Proxy(#[from] apifault::StartError),
    #[error("{0}")]
    Kubeconfig(#[from] Unusable),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0}")]
    Yaml(#[from] serde_saphyr::Error),
    #[error("{0}")]
    Other(String),
}

/// What all cases share.
#[derive(Clone)]
pub struct Bed {
    /// The API server, as the administrator reaches it.
    pub server: Server,
    /// The operator's program.
    pub program: PathBuf,
    /// Where logs and kubeconfigs go.
    pub folder: PathBuf,
    /// Every kind of object that can be in a namespace.
    pub kinds: Vec<Kind>,
}

/// A namespace and what is asked about it.
#[derive(Clone)]
pub struct Namespace {
    /// The API server.
    pub server: Server,
    /// Its name.
    pub name: String,
}

impl Bed {
    /// Finds the cluster of `KUBECONFIG`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn new(program: PathBuf, folder: PathBuf) -> Result<Self, Trouble> {
        let path = std::env::var("KUBECONFIG")
            .map_err(|_| Trouble::Other("KUBECONFIG is not set; `cargo xtask test --only fault` sets it".to_owned()))?;
        let text = std::fs::read_to_string(&path).map_err(|source| Trouble::Io { what: path, source })?;
        let server = Server::of(&text)?;
        std::fs::create_dir_all(&folder)
            .map_err(|source| Trouble::Io { what: folder.display().to_string(), source })?;
        let kinds = Kind::discover(&server).await?;
        Ok(Self { server, program, folder, kinds })
    }

    /// Makes a fresh namespace, after removing what an earlier run left of it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn namespace(&self, name: &str) -> Result<Namespace, Trouble> {
        let namespace = Namespace { server: self.server.clone(), name: name.to_owned() };
        namespace.remove().await?;
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        crate::wait_for(&format!("namespace {name}"), Namespace::GONE, Namespace::LOOK, async || {
            self.server.ask(Method::POST, "/api/v1/namespaces", JSON, &body).await
        })
        .await?;
        Ok(namespace)
    }
}

const JSON: &str = "application/json";

impl Namespace {
    const GONE: std::time::Duration = std::time::Duration::from_secs(90);
    const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

    /// Path of a kind's objects here; `api` is `api/v1` or `apis/GROUP/VERSION`.
    #[must_use]
    pub fn path(&self, api: &str, rest: &str) -> String {
        format!("/{api}/namespaces/{}/{rest}", self.name)
    }

    /// Reads an object or a collection; none if it is not there.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn get(&self, api: &str, rest: &str) -> Result<Option<Value>, Failure> {
        match self.server.ask(Method::GET, &self.path(api, rest), JSON, &Value::Null).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Changes an object under the name of `manager`.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn patch(
        &self,
        api: &str,
        rest: &str,
        manager: &str,
        form: Form,
        body: &Value,
    ) -> Result<Value, Failure> {
        let (kind, force) = match form {
            Form::Merge => ("application/merge-patch+json", ""),
            Form::Json => ("application/json-patch+json", ""),
            Form::Apply => ("application/apply-patch+yaml", "&force=true"),
        };
        let path = format!("{}?fieldManager={manager}{force}", self.path(api, rest));
        self.server.ask(Method::PATCH, &path, kind, body).await
    }

    /// Makes an object.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn create(&self, api: &str, plural: &str, body: &Value) -> Result<Value, Failure> {
        self.server.ask(Method::POST, &self.path(api, plural), JSON, body).await
    }

    /// Deletes an object, in the background; one that is not there is as good.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn delete(&self, api: &str, rest: &str) -> Result<(), Failure> {
        match self.server.ask(Method::DELETE, &self.path(api, rest), JSON, &Value::Null).await {
            Err(failure) if !failure.is_not_found() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Deletes the namespace. It goes while the next case begins.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn remove(&self) -> Result<(), Failure> {
        let path = format!("/api/v1/namespaces/{}", self.name);
        match self.server.ask(Method::DELETE, &path, JSON, &Value::Null).await {
            // A conflict says that it is going already.
            Err(Failure::Refused { code: 404 | 409, .. }) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// A file of the checkout.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &str) -> Result<String, Trouble> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or_else(|| Path::new("."));
    std::fs::read_to_string(root.join(path)).map_err(|source| Trouble::Io { what: path.to_owned(), source })
}
