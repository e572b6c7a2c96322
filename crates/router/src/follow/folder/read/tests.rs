use super::*;

const POLICY: &str = "apiVersion: quartermaster.dev/v1alpha1
kind: RoutePolicy
metadata: {name: chat}
spec:
  models: [m]
  access: {anonymous: true}
  targets:
  - name: local
    pool: {name: p}
";
const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: s, namespace: ml}
stringData: {key: canary}
";
const SLICE: &str = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: p, labels: {quartermaster.dev/pool: p}}
addressType: IPv4
ports: [{port: 8000}]
endpoints:
- addresses: [192.168.1.20]
";

fn files(texts: &[(&str, &str)]) -> Files {
    let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned())));
    Files { texts: texts.collect(), ..Files::default() }
}

fn read_as(texts: &[(&str, &str)], before: &Said, namespace: &str, only: bool) -> Said {
    let kinds = Kinds::new().unwrap();
    let outside = |_: &Outside| Err("not there".to_owned());
    let reach = Reach::default();
    let how = Reading { kinds: &kinds, namespace, only, reach: &reach, outside: &outside };
    Said::read(&files(texts), &how, before)
}

fn read(texts: &[(&str, &str)]) -> Said {
    read_as(texts, &Said::default(), "default", false)
}

fn mistakes(said: &Said) -> Vec<&str> {
    said.mistakes.iter().map(|mistake| mistake.said.as_str()).collect()
}

#[test]
fn the_objects_of_a_folder_for_kubectl_are_read() {
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\n# nothing\n";
    let all = format!("{POLICY}---\n{SECRET}---\n{SLICE}---\n{other}");
    let list = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"ml\"}}]}";
    let said = read(&[("a.yaml", &all), ("b.json", list)]);
    assert_eq!(mistakes(&said), [""; 0]);
    let policy = said.policies[0].0.as_ref().unwrap();
    assert_eq!(policy.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(policy.spec.retries.attempts, 2, "defaults are filled in");
    let secret = &said.secrets[&("ml".to_owned(), "s".to_owned())];
    assert_eq!(secret.data.as_ref().unwrap()["key"].0, b"canary");
    assert_eq!((said.slices.len(), said.namespaces.len()), (1, 1));
    assert_eq!(said.slices[0].0.as_ref().unwrap().metadata.namespace.as_deref(), Some("default"));
    let said = read_as(&[("a.yaml", &all)], &Said::default(), "ml", true);
    assert_eq!(
        (said.policies.len(), said.secrets.len()),
        (1, 1),
        "what names no namespace is in the one that is asked for"
    );
    assert_eq!(said.policies[0].0.as_ref().unwrap().metadata.namespace.as_deref(), Some("ml"));
    assert!(read_as(&[("a.yaml", &all)], &Said::default(), "other", true).secrets.is_empty());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let cases = [
        (POLICY.replace("pool: {", "pol: {"), "a.yaml:9: RoutePolicy default/chat: spec.targets[0].pol: unknown field"),
        (POLICY.replace("[m]", "m"), "a.yaml:5: RoutePolicy default/chat: spec.models: is of the wrong type: a text"),
        (POLICY.replace("  models: [m]\n", ""), "a.yaml:4: RoutePolicy default/chat: spec.models: is required"),
        (
            POLICY.replace("name: p}", "name: p}\n    service: {name: s, port: 1}"),
            "a.yaml:8: RoutePolicy default/chat: spec.targets[0]: each of spec.targets needs exactly one of",
        ),
        (
            format!("{POLICY}  rules:\n  - name: r\n    when: request.steam\n    use: {{ordered: [local]}}\n"),
            "a.yaml:12: RoutePolicy default/chat: spec.rules[0].when: line 1, column 8",
        ),
        (
            format!("{POLICY}  rules:\n  - name: r\n    use: {{ordered: [gone]}}\n"),
            "a.yaml:4: RoutePolicy default/chat: spec: spec.rules[].use.ordered names a target that spec.targets does not have",
        ),
        (
            POLICY
                .replace("pool: {name: p}", "provider: {kind: OpenAICompatible, model: m, baseUrl: 'http://127.1/v1'}"),
            "a.yaml:9: RoutePolicy default/chat: spec.targets[0].provider.baseUrl: ",
        ),
        (
            POLICY.replace("RoutePolicy", "RoutePolcy"),
            "a.yaml:2: kind: there is no kind RoutePolcy in quartermaster.dev/v1alpha1; there are",
        ),
        (POLICY.replace("v1alpha1", "v1"), "a.yaml:2: kind: there is no kind RoutePolicy in quartermaster.dev/v1;"),
        (POLICY.replace("{name: chat}", "{}"), "a.yaml:3: metadata.name: is needed"),
        ("a: 1\n".to_owned(), "a.yaml:1: it is no object of Kubernetes"),
        ("a: [\n".to_owned(), "a.yaml:"),
        (
            SLICE.replace("192.168.1.20", "127.0.0.1"),
            "a.yaml:7: EndpointSlice default/p: endpoints[0].addresses[0]: 127.0.0.1 is a loopback address; allow it by --allow-targets=127.0.0.1",
        ),
        (
            SLICE.replace("192.168.1.20", "box.lan"),
            "a.yaml:7: EndpointSlice default/p: endpoints[0].addresses[0]: is no IP address",
        ),
        (SLICE.replace("addresses:", "adresses:"), "a.yaml:7: EndpointSlice default/p: endpoints[0]"),
        (SLICE.replace("[{port: 8000}]", "[]"), "a.yaml:5: EndpointSlice default/p: ports: needs a port"),
        (SECRET.replace("stringData", "stringdata"), "a.yaml:4: Secret ml/s: stringdata: unknown field"),
        (SECRET.replace("stringData", "data"), "a.yaml:4: Secret ml/s: data"),
        (
            SECRET.replace("namespace: ml", "annotations: {quartermaster.dev/from: 'key=env:GONE'}"),
            "a.yaml:3: Secret default/s: metadata.annotations.quartermaster.dev/from: the variable GONE",
        ),
    ];
    for (text, want) in cases {
        let said = read(&[("a.yaml", &text)]);
        let mistakes = mistakes(&said);
        assert!(mistakes.first().is_some_and(|first| first.starts_with(want)), "{mistakes:?}, not {want}");
        assert!(!mistakes.concat().contains("canary"), "{mistakes:?}");
    }
    let twice = read(&[("a.yaml", POLICY), ("b.yaml", &format!("{SECRET}---\n{POLICY}"))]);
    assert_eq!(twice.policies.len(), 1);
    assert_eq!(
        mistakes(&twice),
        [
            "b.yaml:8 (document 2): RoutePolicy default/chat: metadata.name: stands a second time; a.yaml has it too, and what stands there counts"
        ]
    );
}

#[test]
fn what_only_a_cluster_can_do_is_told() {
    let closed = POLICY.replace("{anonymous: true}", "{allow: [team-a, 'system:serviceaccount:ml:ci']}");
    let said = read(&[("a.yaml", &closed)]);
    assert_eq!((said.policies.len(), mistakes(&said)), (1, vec![]));
    assert!(
        said.notes[0].starts_with("a.yaml:6: RoutePolicy default/chat: spec.access.allow[1]: names a ServiceAccount")
    );
    assert_eq!(said.notes.len(), 1);
}

/// What is known of each object after the second look: `=` as it is, `x` broken, `-` gone.
#[test]
fn what_cannot_be_read_stays_as_it_was() {
    let good = format!("{POLICY}---\n{SECRET}");
    let first = read(&[("a.yaml", &good)]);
    let bad_policy = good.replace("[m]", "m");
    let bad_secret = good.replace("stringData", "stringdata");
    let nameless = "apiVersion: v1\nkind: Secret\nmetadata: {}\n";
    for (text, want) in [
        (Some(good.as_str()), "=="),
        (Some(&bad_policy), "x="),
        (Some(&bad_secret), "=="),
        (Some("a: ["), "x="),
        (Some(""), "--"),
        (None, "--"),
        (Some(POLICY), "=-"),
        (Some(nameless), "x="),
    ] {
        let texts: Vec<_> = text.iter().map(|text| ("a.yaml", *text)).collect();
        let said = read_as(&texts, &first, "default", false);
        let policy = said.policies.first().map_or('-', |policy| if policy.0.is_ok() { '=' } else { 'x' });
        let secret = said.secrets.values().next().map_or('-', |_| '=');
        assert_eq!(format!("{policy}{secret}"), want, "{text:?}");
        // A second look at the same broken files knows as much.
        let again = read_as(&texts, &said, "default", false);
        assert_eq!((again.policies.len(), again.secrets.len()), (said.policies.len(), said.secrets.len()), "{text:?}");
    }
}

#[test]
fn an_object_may_move_out_of_a_file_that_broke() {
    let before = read(&[("a.yaml", POLICY)]);
    let moved = POLICY.replace("models: [m]", "models: [other]");
    let said = read_as(&[("a.yaml", "models: ["), ("b.yaml", &moved)], &before, "default", false);
    assert_eq!(said.policies.len(), 1);
    assert_eq!(said.policies[0].0.as_ref().unwrap().spec.models, ["other"]);
    let [told] = &mistakes(&said)[..] else { panic!("{:?}", mistakes(&said)) };
    assert!(told.starts_with("a.yaml:"), "{told}");
}
