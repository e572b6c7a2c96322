//! What an object says of itself before the operator has looked at it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use serde_json::{Value, json};

use crate::conditions::{READY, reason};

/// `crd` with a default for the status of its objects.
///
/// An object without a status is taken for finished by tools that follow kstatus (Flux, Helm 4), which would go on before
/// the operator has begun. So the API server shows such an object with a generation that was never observed, and with a
/// `Ready` that is not known. Nothing is stored, and the operator's first status replaces it.
pub(crate) fn given(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(first_status()));
        }
    }
    crd
}

/// The time is one that no object has, because a default cannot tell when the object was made.
fn first_status() -> Value {
    json!({
        "observedGeneration": -1,
        "conditions": [{
            "type": READY,
            "status": "Unknown",
            "reason": reason::PENDING,
            "message": "waiting for the operator to look at this object",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::{InferencePoolStatus, RoutePolicyStatus, all_crds};

    #[test]
    fn it_is_a_status_of_its_kind() {
        for crd in all_crds() {
            let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let default = schema.properties.unwrap()["status"].default.clone().unwrap().0;
            let generation = match crd.spec.names.kind.as_str() {
                "InferencePool" => serde_json::from_value::<InferencePoolStatus>(default).unwrap().observed_generation,
                _ => serde_json::from_value::<RoutePolicyStatus>(default).unwrap().observed_generation,
            };
            assert_eq!(generation, Some(-1), "{}", crd.spec.names.kind);
        }
    }
}
