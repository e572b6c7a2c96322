//! The answers of `GET /v1/models` and `GET /v1/models/{id}`.

use serde::Serialize;

/// One model that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedModel<'a> {
    /// The name to ask for.
    pub id: &'a str,
    /// When it was offered first, in seconds since 1970.
    pub created: i64,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
}

/// The list as JSON. `owner` stands in every entry, because what lies behind a name is nobody's business but ours.
#[must_use]
pub fn model_list<'a>(models: impl IntoIterator<Item = ListedModel<'a>>, owner: &'a str) -> Vec<u8> {
    let list = List { object: "list", data: models.into_iter().map(|model| entry(model, owner)).collect() };
    // Text and numbers always serialize, so the fallback is never seen.
    serde_json::to_vec(&list).unwrap_or_default()
}

/// One entry of the list, as the answer of `GET /v1/models/{id}`.
#[must_use]
pub fn model_entry(model: ListedModel<'_>, owner: &str) -> Vec<u8> {
    serde_json::to_vec(&entry(model, owner)).unwrap_or_default()
}

fn entry<'a>(model: ListedModel<'a>, owner: &'a str) -> Entry<'a> {
    Entry { id: model.id, object: "model", created: model.created, owned_by: owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_that_clients_read() {
        let models = [ListedModel { id: "a", created: 5 }, ListedModel { id: "b\"", created: 0 }];
        let want = r#"{"object":"list","data":[{"id":"a","object":"model","created":5,"owned_by":"o"},{"id":"b\"","object":"model","created":0,"owned_by":"o"}]}"#;
        assert_eq!(String::from_utf8(model_list(models, "o")).unwrap(), want);
        let [first, _] = models;
        let want = r#"{"id":"a","object":"model","created":5,"owned_by":"o"}"#;
        assert_eq!(String::from_utf8(model_entry(first, "o")).unwrap(), want);
    }
}
