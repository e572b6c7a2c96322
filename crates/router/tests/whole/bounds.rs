//! What keeps targets, and those who write policies, within their bounds (S20, S22).

use std::sync::Arc;

use router::outbound::{Outbound, Resolver};
use router::settings::Settings;
use router_core::{Api, Reach, RemoteInput, Table};

use crate::bed::{ANSWER, ASK, Engine, calm, header, plain, status};
use crate::remote::{KEY, World, answer, ask, far, keys, showing};

/// What an address was judged by for a provider says nothing of a Service, nor the other way round: else a policy of any namespace
/// could speak to a Service of another one over the connections that its own policy has left open.
#[tokio::test]
async fn a_kept_connection_serves_only_what_it_was_judged_for() {
    let engine = Engine::answering(plain(ANSWER)).await;
    let (host, here) = ("theirs.ml.svc", engine.address);
    let authority = format!("{host}:{}", here.port());
    let provider = RemoteInput { host: host.to_owned(), authority, ..far(Api::OpenAiCompatible, here) };
    let service = RemoteInput { api: Api::Engine, path: String::new(), secret: None, ..provider.clone() };
    // A provider may be there by its name; a Service may not be at an address of this machine.
    let resolver: Resolver = Arc::new(move |_, _| Box::pin(async move { Ok(vec![here]) }));
    let outbound = Outbound::new(Reach::new(vec![host.parse().unwrap()]), Vec::new()).unwrap().resolved_by(resolver);
    let bed = World::of(vec![provider]).bed_as(&Settings { outbound, ..calm() }, &keys(KEY));
    for _ in 0..2 {
        let (head, body) = ask(&bed, ASK).await;
        assert_eq!((status(&head), engine.connections()), (200, 1), "{body}");
    }
    bed.live.store(Arc::new(World::of(vec![service]).live(&Table::default(), &bed.metrics, &keys(KEY))));
    let (head, body) = ask(&bed, ASK).await;
    assert!(status(&head) == 502 && body.contains("upstream_forbidden"), "{head}{body}");
    assert_eq!(engine.connections(), 1);
}

/// What was decided is told by the router alone, also where no rule did.
#[tokio::test]
async fn a_service_does_not_speak_for_the_router() {
    let forged = "x-quartermaster-rule: forged\r\nx-quartermaster-target: forged\r\n\
                  x-quartermaster-complexity: forged\r\nx-request-id: forged\r\nx-theirs: passes\r\n";
    let engine = Engine::answering(answer("200 OK", forged, ANSWER)).await;
    let service = RemoteInput { path: String::new(), secret: None, ..far(Api::Engine, engine.address) };
    let bed = World::of(vec![service]).bed();
    let (head, body) = ask(&bed, ASK).await;
    assert!(status(&head) == 200 && head.contains("x-theirs: passes"), "{head}{body}");
    assert!(!head.contains("forged"), "{head}");
}

/// A caller must not be able to make a provider refuse the router's key, which would count against the target for all callers: what
/// is no text is not signed as it is sent.
#[tokio::test]
async fn a_type_that_is_no_text_is_not_passed_on() {
    let (engine, mut asked) = showing(plain(ANSWER)).await;
    let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
    for (sent, want) in [
        ("application/json; x=\u{e9}", "application/json"),
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
    ] {
        let mut client = bed.client().await;
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\ncontent-type: {sent}\r\n");
        client.send(format!("{head}content-length: {}\r\n\r\n{ASK}", ASK.len())).await;
        let (answer, body) = client.message().await;
        assert_eq!(status(&answer), 200, "{sent}: {body}");
        let (head, _) = asked.recv().await.unwrap();
        assert_eq!(header(&head, "content-type"), Some(want), "{head}");
    }
}
