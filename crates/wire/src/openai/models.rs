//! The answer of `GET /v1/models`.

use serde::Serialize;

/// One model that a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
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
pub fn model_list<'a>(models: impl IntoIterator<Item = ListedModel<'a>>, owner: &str) -> Vec<u8> {
    let entry = |m: ListedModel<'a>| Entry { id: m.id, object: "model", created: m.created, owned_by: owner };
    let list = List { object: "list", data: models.into_iter().map(entry).collect() };
    // Text and numbers always serialize, so the fallback is never seen.
    serde_json::to_vec(&list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_that_clients_read() {
        let models = [ListedModel { id: "a", created: 5 }, ListedModel { id: "b\"", created: 0 }];
        let want = r#"{"object":"list","data":[{"id":"a","object":"model","created":5,"owned_by":"o"},{"id":"b\"","object":"model","created":0,"owned_by":"o"}]}"#;
        assert_eq!(String::from_utf8(model_list(models, "o")).unwrap(), want);
    }
}
