//! The folders of an engine: where it may write, and what it reads.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, ImageVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource,
    SecretVolumeSource, Volume, VolumeMount,
};

use crate::pool::validate::{ValidPool, Weights};

/// The one folder that outlives an engine's restart within its pod, and with a claim the pod itself: weights, compiled
/// kernels, and whatever else looks for a home.
pub(super) const CACHE: &str = "/cache";
/// Where weights of a claim or an image are.
pub(super) const WEIGHTS: &str = "/weights";
/// The chat template of a ConfigMap.
pub(super) const CHAT_TEMPLATE: &str = "/templates/chat.jinja";
/// The service account's JSON for a bucket.
pub(super) const CREDENTIALS_FILE: &str = "/credentials/key.json";

pub(super) fn of(pool: &ValidPool) -> Vec<Volume> {
    let cache = match &pool.spec.model.cache {
        Some(cache) => claim("cache", &cache.claim_name, None),
        None => empty_dir("cache", None),
    };
    // Tensor parallel workers exchange data by shared memory, of which a container otherwise has 64 MB.
    let mut volumes = vec![cache, empty_dir("tmp", None), empty_dir("shm", Some("Memory"))];
    match &pool.weights {
        Weights::Claim { name, .. } => volumes.push(claim("weights", name, Some(true))),
        Weights::Image(reference) => volumes.push(Volume {
            name: "weights".to_owned(),
            image: Some(ImageVolumeSource { reference: Some(reference.clone()), pull_policy: None }),
            ..Volume::default()
        }),
        Weights::Hub(_) | Weights::Bucket(_) | Weights::Folder(_) => {}
    }
    if let Some((secret, key)) = key_file(pool) {
        let item = KeyToPath { key: key.to_owned(), path: "key.json".to_owned(), mode: None };
        volumes.push(Volume {
            name: "credentials".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.to_owned()),
                items: Some(vec![item]),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    if let Some(template) = pool.spec.engine.chat_template.as_ref().and_then(|t| t.config_map_key_ref.as_ref()) {
        let item = KeyToPath { key: template.key.clone(), path: "chat.jinja".to_owned(), mode: None };
        volumes.push(Volume {
            name: "templates".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: template.name.clone(),
                items: Some(vec![item]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes
}

pub(super) fn mounts(pool: &ValidPool) -> Vec<VolumeMount> {
    let read_only = |name: &str| match name {
        "weights" => Some(WEIGHTS),
        "credentials" => Some("/credentials"),
        "templates" => Some("/templates"),
        _ => None,
    };
    let mount = |volume: Volume| {
        let fixed = read_only(&volume.name);
        let path = match volume.name.as_str() {
            "tmp" => "/tmp",
            "shm" => "/dev/shm",
            _ => fixed.unwrap_or(CACHE),
        };
        VolumeMount {
            name: volume.name,
            mount_path: path.to_owned(),
            read_only: fixed.map(|_| true),
            ..VolumeMount::default()
        }
    };
    of(pool).into_iter().map(mount).collect()
}

/// Secret and key of a service account's JSON, which its libraries want as a file.
fn key_file(pool: &ValidPool) -> Option<(&str, &str)> {
    let secret = pool.spec.model.credentials_secret_ref.as_ref()?;
    match (&pool.weights, &secret.key) {
        (Weights::Bucket(url), Some(key)) if url.starts_with("gs://") => Some((&secret.name, key)),
        _ => None,
    }
}

fn claim(name: &str, claim: &str, read_only: Option<bool>) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only }),
        ..Volume::default()
    }
}

fn empty_dir(name: &str, medium: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: medium.map(str::to_owned), size_limit: None }),
        ..Volume::default()
    }
}
