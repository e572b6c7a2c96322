//! Against an API server that is played: it holds a few objects, and carries out patches.

use super::*;
use crate::metrics_api::tests::{authority, get, pages, proof};
use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::net::TcpListener;

const SECRET: &str = "/api/v1/namespaces/system/secrets/tls";
const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const SERVICES: [&str; 2] = [
    "/apis/apiregistration.k8s.io/v1/apiservices/v1beta2.custom.metrics.k8s.io",
    "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.custom.metrics.k8s.io",
];

type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

struct World {
    objects: Objects,
    writes: Arc<Mutex<Vec<String>>>,
    keeper: Keeper,
    shown: Option<(Serving, FrontProxy)>,
}

impl World {
    /// A cluster with both APIServices, which point to this Service, and without a certificate.
    fn new(service: &str) -> Self {
        let objects = Objects::default();
        for path in SERVICES {
            let spec = json!({"service": {"namespace": "system", "name": service}, "group": "custom.metrics.k8s.io",
                              "version": "v1beta2", "groupPriorityMinimum": 100, "versionPriority": 100});
            objects.lock().unwrap().insert(path.to_owned(), json!({"metadata": {"name": "a"}, "spec": spec}));
        }
        let writes = Arc::new(Mutex::new(Vec::new()));
        let (held, noted) = (Arc::clone(&objects), Arc::clone(&writes));
        let server = tower::service_fn(move |request: Request<Body>| {
            let (held, noted) = (Arc::clone(&held), Arc::clone(&noted));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = head.uri.path().to_owned();
                let mut held = held.lock().unwrap();
                if head.method == Method::PATCH {
                    noted.lock().unwrap().push(path.clone());
                    merge(held.entry(path.clone()).or_default(), serde_json::from_slice(&body).unwrap());
                }
                let (code, body) = match held.get(&path) {
                    Some(object) => (200, object.clone()),
                    None => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
                };
                let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                Ok::<_, tower::BoxError>(response)
            }
        });
        let client = Client::new(server, "default");
        let keeper = Keeper {
            reader: client.clone(),
            writer: client,
            leading: watch::channel(true).1,
            clock: || Time(Timestamp::now()),
            namespace: "system".to_owned(),
            service: "operator".to_owned(),
            secret: "tls".to_owned(),
            identity: watch::channel(None).0,
            standing: watch::channel(MetricsApi::Unknown).0,
        };
        Self { objects, writes, keeper, shown: None }
    }

    /// What one look writes.
    async fn look(&mut self, leads: bool) -> Vec<String> {
        let _ = default_provider().install_default();
        // To have nothing yet is no failure of an operator that does not lead.
        let _ = self.keeper.look(&mut self.shown, leads).await;
        std::mem::take(&mut *self.writes.lock().unwrap())
    }

    /// How many authorities the API server trusts, and whether it is the same list for both versions and in the Secret.
    fn trusted(&self) -> (usize, bool) {
        let objects = self.objects.lock().unwrap();
        let lists = SERVICES.map(|path| objects[path]["spec"]["caBundle"].clone());
        let list: ByteString = serde_json::from_value(lists[0].clone()).unwrap();
        let text = String::from_utf8(list.0).unwrap();
        let same = lists[0] == lists[1] && lists[0] == objects[SECRET]["data"]["ca.crt"];
        (text.matches("BEGIN CERTIFICATE").count(), same)
    }

    fn publish(&self, authority: &str) {
        let data = json!({"requestheader-client-ca-file": authority, "requestheader-allowed-names": "[\"apiserver\"]"});
        self.objects.lock().unwrap().insert(CONFIG.to_owned(), json!({"metadata": {"name": "c"}, "data": data}));
    }
}

/// A JSON merge patch, as far as these tests need it.
fn merge(object: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (key, value) in fields {
                merge(&mut object[key], value);
            }
        }
        other => *object = other,
    }
}

#[tokio::test]
async fn a_certificate_is_made_once_and_renewed_before_its_end() {
    let mut world = World::new("operator");
    assert_eq!(world.look(false).await, Vec::<String>::new(), "only the leader writes");
    assert!(world.keeper.identity.borrow().is_none());
    let all = [SECRET, SERVICES[0], SERVICES[1]];
    assert_eq!(world.look(true).await, all);
    assert_eq!((world.trusted(), world.look(true).await), ((1, true), Vec::new()));
    assert_eq!(*world.keeper.standing.borrow(), MetricsApi::Ours);

    // A month before its end there is a new one; the API server goes on trusting who still shows the old one.
    let before = world.shown.clone().unwrap().0;
    world.keeper.clock = || Time(Timestamp::now() + SignedDuration::from_hours(24 * 340));
    assert_eq!(world.look(false).await, Vec::<String>::new());
    assert_eq!(world.look(true).await, all);
    assert_eq!((world.trusted(), world.look(true).await), ((2, true), Vec::new()));
    assert_ne!(world.shown.clone().unwrap().0, before);

    // Whoever spoiled it.
    let nonsense = json!({"data": {"tls.key": "bm9uc2Vuc2U="}});
    merge(world.objects.lock().unwrap().get_mut(SECRET).unwrap(), nonsense);
    assert_eq!(world.look(true).await, all);
    assert_eq!(world.trusted(), (2, true));
}

#[tokio::test]
async fn an_api_that_another_server_has_is_left_alone() {
    let mut world = World::new("adapter");
    let before = world.objects.lock().unwrap()[SERVICES[0]].clone();
    assert_eq!(world.look(true).await, [SECRET]);
    assert_eq!(world.objects.lock().unwrap()[SERVICES[0]], before);
    let standing = world.keeper.standing.borrow().clone();
    assert!(matches!(standing, MetricsApi::Foreign { .. }), "{standing:?}");
}

#[tokio::test]
async fn a_new_authority_of_the_api_servers_is_followed() {
    let (mut world, stop) = (World::new("operator"), CancellationToken::new());
    let (old, new) = (authority(), authority());
    world.publish(&old.pem());
    world.look(true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let identity = world.keeper.identity.subscribe();
    let server = tokio::spawn(super::super::serve(listener, identity, Arc::new(pages()), stop.clone()));
    let trust = world.shown.clone().unwrap().0.authority;
    let ask = async |by| {
        get(at, "operator.system.svc", &trust, Some(proof(by, "apiserver")), "/apis").await.map(|(code, _)| code)
    };
    assert_eq!((ask(&old).await, ask(&new).await), (Some(200), None));
    world.publish(&new.pem());
    assert_eq!(world.look(false).await, Vec::<String>::new());
    assert_eq!((ask(&old).await, ask(&new).await), (None, Some(200)));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
}
