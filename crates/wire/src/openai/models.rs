//! The answers of `GET /v1/models` and `GET /v1/models/{id}`. OpenAI's and Anthropic's SDKs ask at the same path, so each finds
//! its own fields.

use serde::Serialize;

/// One model that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedModel<'a> {
    /// The name to ask for.
    pub id: &'a str,
    /// When it was offered first, in seconds since 1970.
    pub created: i64,
    /// The same by RFC 3339.
    pub created_at: &'a str,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    has_more: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
    r#type: &'static str,
    display_name: &'a str,
    created_at: &'a str,
}

/// The list as JSON. `owner` stands in every entry, because what lies behind a name is nobody's business but ours.
#[must_use]
pub fn model_list<'a>(models: impl IntoIterator<Item = ListedModel<'a>>, owner: &'a str) -> Vec<u8> {
    let data: Vec<_> = models.into_iter().map(|model| entry(model, owner)).collect();
    let (first_id, last_id) = (data.first().map(|model| model.id), data.last().map(|model| model.id));
    let list = List { object: "list", data, first_id, last_id, has_more: false };
    // Text and numbers always serialize, so the fallback is never seen.
    serde_json::to_vec(&list).unwrap_or_default()
}

/// One entry of the list, as the answer of `GET /v1/models/{id}`.
#[must_use]
pub fn model_entry(model: ListedModel<'_>, owner: &str) -> Vec<u8> {
    serde_json::to_vec(&entry(model, owner)).unwrap_or_default()
}

fn entry<'a>(model: ListedModel<'a>, owner: &'a str) -> Entry<'a> {
    let ListedModel { id, created, created_at } = model;
    Entry { id, object: "model", created, owned_by: owner, r#type: "model", display_name: id, created_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_that_clients_read() {
        let models = [
            ListedModel { id: "a", created: 5, created_at: "1970-01-01T00:00:05Z" },
            ListedModel { id: "b\"", created: 0, created_at: "1970-01-01T00:00:00Z" },
        ];
        let a = r#"{"id":"a","object":"model","created":5,"owned_by":"o","type":"model","display_name":"a","created_at":"1970-01-01T00:00:05Z"}"#;
        let b = r#"{"id":"b\"","object":"model","created":0,"owned_by":"o","type":"model","display_name":"b\"","created_at":"1970-01-01T00:00:00Z"}"#;
        let want = format!(r#"{{"object":"list","data":[{a},{b}],"first_id":"a","last_id":"b\"","has_more":false}}"#);
        assert_eq!(String::from_utf8(model_list(models, "o")).unwrap(), want);
        let none = r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#;
        assert_eq!(String::from_utf8(model_list([], "o")).unwrap(), none);
        let [first, _] = models;
        assert_eq!(String::from_utf8(model_entry(first, "o")).unwrap(), a);
    }
}
