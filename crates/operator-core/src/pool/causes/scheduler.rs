//! Reads the scheduler's sentence about a pod that no node can take.

use std::collections::BTreeSet;

/// What the scheduler's sentence says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NoNode {
    /// Resources that some node has too little of, as `nvidia.com/gpu`.
    pub(super) short_of: BTreeSet<String>,
    /// Whether a pod that goes could make room: some node is large enough, and only full.
    pub(super) room_can_be_made: bool,
    /// The scheduler's own words, without its thoughts about preemption.
    pub(super) words: String,
}

/// How the sentence goes on about claims and preemption; neither is what keeps the pod from a node.
const TAILS: [&str; 2] = [" no new claims to deallocate", " preemption:"];

/// Reads a sentence such as `0/3 nodes are available: 2 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {…}. …`.
pub(super) fn read(message: &str) -> NoNode {
    let words = TAILS.iter().fold(message, |rest, tail| rest.split(tail).next().unwrap_or(rest));
    let words = words.trim_end_matches(['.', ',', ' ']).to_owned();
    let short_of: BTreeSet<String> = words
        .split("Insufficient ")
        .skip(1)
        .filter_map(|rest| rest.split([',', ' ']).next())
        .map(|name| name.trim_end_matches('.').to_owned())
        .collect();
    NoNode { room_can_be_made: !short_of.is_empty() && !hopeless(message), short_of, words }
}

/// The scheduler calls preemption "not helpful" on a node that would not do if it were empty. When it says so of all nodes,
/// no pod that goes makes room.
fn hopeless(message: &str) -> bool {
    let Some((_, thoughts)) = message.split_once(" preemption:") else { return false };
    thoughts.contains("Preemption is not helpful") && !thoughts.contains("No preemption victims")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, short_of: &[&str], room_can_be_made: bool, words: &str) {
        let short_of = short_of.iter().map(ToString::to_string).collect();
        assert_eq!(read(message), NoNode { short_of, room_can_be_made, words: words.to_owned() }, "{message}");
    }

    #[test]
    fn the_sentence_is_understood() {
        let tail = "no new claims to deallocate, preemption: 0/1 nodes are available: 1";
        let full = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu";
        check(
            &format!("{full}. {tail} No preemption victims found for incoming pod."),
            &["nvidia.com/gpu"],
            true,
            full,
        );
        check(&format!("{full}. {tail} Preemption is not helpful for scheduling."), &["nvidia.com/gpu"], false, full);
        let two = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory";
        check(&format!("{two}. {tail} Preemption is not helpful for scheduling."), &["cpu", "memory"], false, two);
        let mixed =
            "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient nvidia.com/gpu";
        check(
            &format!(
                "{mixed}. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption \
                 victims found for incoming pod."
            ),
            &["nvidia.com/gpu"],
            true,
            mixed,
        );
        let selector = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector";
        check(&format!("{selector}. {tail} Preemption is not helpful for scheduling."), &[], false, selector);
        let claim = "0/1 nodes are available: persistentvolumeclaim \"weights\" not found. not found";
        check(claim, &[], false, claim);
        check("", &[], false, "");
    }
}
