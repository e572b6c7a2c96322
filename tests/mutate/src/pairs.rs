//! Objects that differ from a valid one in two places that have to do with each other.

use std::collections::BTreeMap;

use schema::{Kind, Node, Path, Step};

use crate::mutation::Mutation;

/// Values tried of each place. Which they are turns with the pair, so that all of a place's values have their turn.
const VALUES: usize = 2;

/// Every pair of places below the field `root` that stand in the same object or are named by the same rule, each with a few
/// of the changes `alone`. These are changes of one place that pass on their own; two that are refused alone say nothing
/// together.
#[must_use]
pub fn pairs(schema: &Node, root: &str, alone: &[Mutation]) -> Vec<Mutation> {
    let mut by_place: BTreeMap<&Path, Vec<&Mutation>> = BTreeMap::new();
    for mutation in alone {
        by_place.entry(&mutation.changes[0].0).or_default().push(mutation);
    }
    let related = related(schema, root);
    let places: Vec<(&Path, &Vec<&Mutation>)> = by_place.iter().map(|(place, values)| (*place, values)).collect();
    let mut found = Vec::new();
    for (at, (one, values)) in places.iter().enumerate() {
        for (other, others) in &places[at + 1..] {
            if one.touches(other) || !(siblings(one, other) || related.iter().any(|rule| rule(one) && rule(other))) {
                continue;
            }
            for turn in 0..VALUES * VALUES {
                let (left, right) = (turn % VALUES, turn / VALUES);
                if left < values.len() && right < others.len() {
                    let seed = found.len();
                    found.push(both(values[(left + seed) % values.len()], others[(right + seed) % others.len()]));
                }
            }
        }
    }
    found
}

fn both(one: &Mutation, other: &Mutation) -> Mutation {
    Mutation {
        class: format!("{}, and {}", one.class, other.class),
        changes: one.changes.iter().chain(&other.changes).cloned().collect(),
    }
}

fn siblings(one: &Path, other: &Path) -> bool {
    one.0.len() == other.0.len() && one.0[..one.0.len() - 1] == other.0[..other.0.len() - 1]
}

/// Tells whether a place is below that of a rule which names its field.
type Names = Box<dyn Fn(&Path) -> bool>;

fn related(schema: &Node, root: &str) -> Vec<Names> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), root, &mut found);
    found
}

fn collect(node: &Node, above: &mut Vec<Option<String>>, root: &str, found: &mut Vec<Names>) {
    for rule in &node.rules {
        let (place, rule) = (above.clone(), rule.clone());
        found.push(Box::new(move |path: &Path| {
            let below = path.0.len() > place.len()
                && place.iter().zip(&path.0).all(|(name, step)| match (name, step) {
                    (Some(name), Step::Field(field)) => name == field,
                    (None, Step::Item(_)) => true,
                    _ => false,
                });
            let named = |step: &Step| matches!(step, Step::Field(name) if mentions(&rule, name));
            below && path.0.last().is_some_and(named)
        }));
    }
    match &node.kind {
        Kind::Object { fields, .. } => {
            for (name, field) in fields {
                if above.is_empty() && name != root {
                    continue;
                }
                above.push(Some(name.clone()));
                collect(field, above, root, found);
                above.pop();
            }
        }
        Kind::List { items, .. } => {
            above.push(None);
            collect(items, above, root, found);
            above.pop();
        }
        _ => {}
    }
}

/// Whether the rule names this field: `self.scaling.minReplicas` names `scaling` and `minReplicas`.
fn mentions(rule: &str, field: &str) -> bool {
    rule.match_indices(field).any(|(at, _)| {
        let after = rule[at + field.len()..].chars().next();
        rule[..at].ends_with('.') && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}
