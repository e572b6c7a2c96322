//! Secrets of a folder: what stands in them, and what they fetch from files and from the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

/// Annotation that says where the values of a Secret's keys are, with commas between them: `api-key=env:OPENAI_API_KEY` or
/// `api-key=file:/run/secrets/openai`. A cluster knows nothing of it.
const ANNOTATION: &str = "quartermaster.dev/from";
/// The same as the path of a field.
pub(super) const ANNOTATION_PATH: &str = "metadata.annotations.quartermaster.dev/from";

/// Where a value is, if not in the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// In a variable of the environment.
    Env(String),
    /// In a file; a relative path begins in the folder.
    File(PathBuf),
}

impl Outside {
    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(path.clone()),
        }
    }
}

/// The values that a Secret refers to, by key.
pub(super) fn refers_to(secret: &Secret) -> Result<BTreeMap<String, Outside>, String> {
    let said = secret.annotations().get(ANNOTATION).map(String::as_str).unwrap_or_default();
    let each = said.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        let (key, place) = part.split_once('=')?;
        let (sort, name) = place.trim().split_once(':')?;
        let outside = match sort {
            "env" => Outside::Env(name.to_owned()),
            "file" => Outside::File(name.into()),
            _ => return None,
        };
        (!name.is_empty()).then(|| (key.trim().to_owned(), outside))
    };
    let bad = |_| "must be KEY=env:VARIABLE or KEY=file:PATH, several with commas between them".to_owned();
    each.map(|part| read(part).ok_or(part)).collect::<Result<_, _>>().map_err(bad)
}

/// The Secret with all its values under `data`, as the API server has it.
pub(super) fn filled(
    mut secret: Secret,
    outside: &BTreeMap<String, Outside>,
    read: &dyn Fn(&Outside) -> Result<Vec<u8>, String>,
) -> Result<Secret, String> {
    let mut data = secret.data.take().unwrap_or_default();
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        data.insert(key, ByteString(text.into_bytes()));
    }
    for (key, place) in outside {
        let value = read(place).map_err(|why| match place {
            Outside::Env(name) => format!("the variable {name} of the environment cannot be read: {why}"),
            Outside::File(path) => format!("{} cannot be read: {why}", path.display()),
        })?;
        data.insert(key.clone(), ByteString(value));
    }
    secret.data = Some(data);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(from: &str) -> Secret {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "annotations": {ANNOTATION: from}},
            "data": {"a": "b2xk", "b": "b2xk"}, "stringData": {"b": "new"},
        }))
        .unwrap()
    }

    #[test]
    fn values_come_from_where_the_secret_says() {
        let secret = secret("c=env:KEY, d=file:keys/d");
        let outside = refers_to(&secret).unwrap();
        assert_eq!(outside["d"].file(), Some("keys/d".into()));
        let read = |place: &Outside| match place {
            Outside::Env(name) if name == "KEY" => Ok(b"from env".to_vec()),
            Outside::File(_) => Ok(b"from file".to_vec()),
            Outside::Env(_) => Err("not there".to_owned()),
        };
        let data = filled(secret.clone(), &outside, &read).unwrap().data.unwrap();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        assert_eq!(["a", "b", "c", "d"].map(text), ["old", "new", "from env", "from file"]);
        let gone = BTreeMap::from([("c".to_owned(), Outside::Env("GONE".to_owned()))]);
        let why = filled(secret, &gone, &read).unwrap_err();
        assert_eq!(why, "the variable GONE of the environment cannot be read: not there");
    }

    #[test]
    fn what_is_written_wrongly_is_refused() {
        for bad in ["a", "a=b", "a=http://b", "a=env:", "a=env:B;c=env:D=x,z"] {
            let read = refers_to(&secret(bad));
            assert!(read.is_err() || bad.contains(';'), "{bad}");
        }
        assert!(refers_to(&secret(" , ")).unwrap().is_empty());
    }
}
