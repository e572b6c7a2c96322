//! Deleting a pool leaves nothing of it.

use e2e::{Namespace, PATIENCE, wait_for};

#[test]
fn a_deleted_pool_leaves_nothing() {
    let ns = Namespace::new("delete");
    ns.pool("leaver", "delete-model", str::to_owned);
    ns.wait_replicas("leaver", 1);
    let kinds = "deployments,replicasets,pods,services,endpointslices,horizontalpodautoscalers";
    let made = |word: &str| -> usize {
        let list = ns.get(&format!("{kinds} --selector quartermaster.dev/pool=leaver")).unwrap();
        let items = list["items"].as_array().unwrap();
        items.iter().filter(|item| item["kind"] == word).count()
    };
    for kind in ["Deployment", "Pod", "Service", "EndpointSlice", "HorizontalPodAutoscaler"] {
        assert_eq!(made(kind), 1, "{kind}");
    }
    ns.kubectl("delete inferencepools.quartermaster.dev/leaver --timeout=60s");
    wait_for("everything of the pool is gone", PATIENCE, || {
        let list =
            ns.get(&format!("{kinds},secrets,serviceaccounts,configmaps --selector quartermaster.dev/pool=leaver"))?;
        match list["items"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(()),
            _ => Err(list.to_string()),
        }
    });
}
