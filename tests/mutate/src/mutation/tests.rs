use super::*;

fn schema() -> Node {
    Node::read(&json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {
                "count": {"type": "integer", "minimum": 1.0, "maximum": 64.0},
                "name": {"type": "string", "maxLength": 8},
                "mode": {"type": "string", "enum": ["A", "B"]},
                "args": {"type": "array", "maxItems": 2, "items": {"type": "string"},
                    "x-kubernetes-validations": [{"rule": "self.all(a, !a.matches('^--(port|ssl-[a-z]+)$') && a != 'no')"}]},
                "box": {"type": "object", "required": ["deep"], "properties": {"deep": {"type": "boolean"}}},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }},
    }))
}

fn base() -> Value {
    json!({"spec": {"count": 2, "args": ["x", "y"]}})
}

fn check(all: &[Mutation], path: &str, value: &Value) {
    let found = all.iter().any(|mutation| {
        let (at, change) = &mutation.changes[0];
        at.to_string() == path && *change == Change::Set(value.clone())
    });
    assert!(found, "{path} = {value} is not tried");
}

#[test]
fn every_place_has_its_limits_tried() {
    let (schema, base) = (schema(), base());
    let all = mutations(&schema, &base, "spec");
    for (path, value) in [
        ("spec.count", json!(0)),
        ("spec.count", json!(65)),
        ("spec.count", json!(i64::MAX)),
        ("spec.count", json!("7")),
        ("spec.count", json!(null)),
        ("spec.name", json!("aaaaaaaa")),
        ("spec.name", json!("aaaaaaaaa")),
        ("spec.name", json!("24Gi")),
        ("spec.mode", json!("B")),
        ("spec.args", json!(["y", "x"])),
        ("spec.args", json!(["x", "y", "x"])),
        ("spec.args[0]", json!("--port")),
        ("spec.args[0]", json!("--ssl-a")),
        ("spec.args[2]", json!("no=x")),
        ("spec.box", json!({"deep": true})),
        ("spec.box.deep", json!(false)),
        ("spec.tags", json!({"a b": "a"})),
        ("spec.tags.example.com/key", json!("--flag")),
    ] {
        check(&all, path, &value);
    }
    assert_eq!(all, mutations(&schema, &base, "spec"), "each call gives the same");
}

#[test]
fn changes_make_the_way_to_their_place() {
    let (deep, gone) =
        (Path::default().field("spec").field("box").field("deep"), Path::default().field("spec").field("count"));
    let item = Path::default().field("spec").field("args").item(2);
    for (changes, want) in [
        (
            vec![(deep.clone(), Change::Set(json!(true)))],
            Some(json!({"count": 2, "args": ["x", "y"], "box": {"deep": true}})),
        ),
        (vec![(gone.clone(), Change::Remove)], Some(json!({"args": ["x", "y"]}))),
        (vec![(item, Change::Set(json!("z")))], Some(json!({"count": 2, "args": ["x", "y", "z"]}))),
        (vec![(gone.clone(), Change::Set(json!(2)))], None),
        (vec![(gone.field("no"), Change::Set(json!(1)))], None),
        (
            vec![(gone.clone(), Change::Set(json!(3))), (deep, Change::Set(json!(false)))],
            Some(json!({"count": 3, "args": ["x", "y"], "box": {"deep": false}})),
        ),
    ] {
        let mutation = Mutation { class: String::new(), changes };
        assert_eq!(mutation.apply(&base()).map(|object| object["spec"].clone()), want, "{mutation}");
    }
}

#[test]
fn pairs_are_of_places_that_belong_together() {
    let (schema, base) = (schema(), base());
    let pairs = crate::pairs(&schema, "spec", &mutations(&schema, &base, "spec"));
    let together = |a: &str, b: &str| {
        pairs.iter().any(|pair| pair.changes.iter().map(|(path, _)| path.to_string()).eq([a.to_owned(), b.to_owned()]))
    };
    assert!(together("spec.count", "spec.name"));
    assert!(!together("spec.box.deep", "spec.count"));
    assert!(!together("spec.box", "spec.box.deep"), "one place inside of the other");
}

#[test]
fn a_walk_with_the_same_seed_is_the_same() {
    let (schema, base) = (schema(), base());
    let all = mutations(&schema, &base, "spec");
    let go =
        |seed| crate::walk(&base, &all, 20, &mut crate::Luck::new(seed), |object| object["spec"]["count"].is_i64());
    assert_eq!((go(1).len(), go(1)), (20, go(1)));
    assert_ne!(go(1), go(2));
}
