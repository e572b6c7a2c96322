//! Sample pools and the objects that are made for them, as people would read them.
//!
//! After a wanted change, `UPDATE_GOLDEN=1 cargo test -p operator-core golden` writes the new objects; the diff is
//! then for the reviewer.

use std::fs;
use std::path::{Path, PathBuf};

use api::InferencePool;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::plan::{Change, Child};
use crate::pool::{self, Observed, Site};

const SAMPLES: [&str; 5] = ["small", "full", "claim", "bucket", "image"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn now() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

fn site() -> Site {
    Site { namespace: "quartermaster-system".to_owned(), scrapers: vec!["monitoring".to_owned()] }
}

fn read(name: &str) -> InferencePool {
    let text = fs::read_to_string(folder().join(format!("{name}.pool.yaml"))).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn children(pool: &InferencePool) -> Vec<Child> {
    let valid = pool::validate(pool).unwrap();
    let plan = pool::plan(&now(), &site(), &Observed::default(), &valid);
    let child = |change| match change {
        Change::Apply { child, uid: None, .. } => *child,
        other => panic!("nothing is there yet, so everything is made anew: {other:?}"),
    };
    plan.changes.into_iter().map(child).collect()
}

fn check(name: &str) {
    let pool = read(name);
    let made = children(&pool);
    assert_eq!(made, children(&pool), "equal inputs give equal plans");
    let text: Vec<String> = made.iter().map(|child| serde_saphyr::to_string(&child.to_json()).unwrap()).collect();
    let text = text.join("---\n");

    let file = folder().join(format!("{name}.objects.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let want = fs::read_to_string(&file).unwrap_or_default();
    assert!(text == want, "{} is not what is made now; UPDATE_GOLDEN=1 rewrites it:\n{text}", file.display());
}

#[test]
fn samples_give_the_objects_written_down() {
    for name in SAMPLES {
        check(name);
    }
}

#[test]
fn nothing_is_written_when_the_objects_are_there() {
    for name in SAMPLES {
        let pool = read(name);
        let seen = Observed { children: children(&pool), ..Observed::default() };
        let plan = pool::plan(&now(), &site(), &seen, &pool::validate(&pool).unwrap());
        assert_eq!((plan.changes, plan.blocked), (vec![], vec![]), "{name}");
    }
}
