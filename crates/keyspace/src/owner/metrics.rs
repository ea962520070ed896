//! What an owner measures of itself, through the `metrics` facade: whoever composes a node decides where it goes.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `affinity_partition_queue` | gauge | messages that wait |
//! | `affinity_partition_pending` | gauge | groups in flight |
//! | `affinity_partition_held_reads` | gauge | reads that wait for their release |
//! | `affinity_partition_serving` | gauge | the epoch served under, 0 for none |
//! | `affinity_partition_append_seconds` | histogram | from sending a group to its acknowledgement |
//! | `affinity_partition_outcomes_total` | counter | appends by `outcome`: `refused`, `unknown`, `fenced` |
//! | `affinity_partition_phases_total` | counter | changes of the phase, by the phase that began (`to`) and its `cause` |
//! | `affinity_partition_gaps_total` | counter | appends of others that were found |
//! | `affinity_partition_unindexed_total` | counter | values in the log that an index could not take |
//! | `affinity_partition_effects_dropped_total` | counter | answers and refusals that their handler refused, and refusals that are too large here |
//! | `affinity_partition_effects_astray_total` | counter | tries to send an effect whose keyspace or partition is not there |
//! | `affinity_partition_sagas_stuck_total` | counter | sagas that could not go on |
//! | `affinity_partition_repairs_total` | counter | keys written again after a stale record |
//! | `affinity_partition_expired_total` | counter | values deleted since they had expired |
//!
//! All carry `keyspace` and `partition`.

use affinity_cluster::PartitionName;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

pub(super) struct Metrics {
    labels: [(&'static str, String); 2],
    pub(super) queue: Gauge,
    pub(super) pending: Gauge,
    pub(super) held_reads: Gauge,
    pub(super) serving: Gauge,
    pub(super) append_seconds: Histogram,
    pub(super) refused: Counter,
    pub(super) unknown: Counter,
    pub(super) fenced: Counter,
    pub(super) gaps: Counter,
    pub(super) unindexed: Counter,
    pub(super) repairs: Counter,
    pub(super) effects_dropped: Counter,
    pub(super) effects_astray: Counter,
    pub(super) expired: Counter,
    pub(super) sagas_stuck: Counter,
}

impl Metrics {
    pub(super) fn new(name: &PartitionName) -> Metrics {
        let labels = [("keyspace", name.keyspace.to_string()), ("partition", name.partition.to_string())];
        let outcome = |outcome: &'static str| {
            let mut labels = labels.to_vec();
            labels.push(("outcome", outcome.to_owned()));
            counter!("affinity_partition_outcomes_total", &labels)
        };
        Metrics {
            labels: labels.clone(),
            queue: gauge!("affinity_partition_queue", &labels),
            pending: gauge!("affinity_partition_pending", &labels),
            held_reads: gauge!("affinity_partition_held_reads", &labels),
            serving: gauge!("affinity_partition_serving", &labels),
            append_seconds: histogram!("affinity_partition_append_seconds", &labels),
            refused: outcome("refused"),
            unknown: outcome("unknown"),
            fenced: outcome("fenced"),
            gaps: counter!("affinity_partition_gaps_total", &labels),
            unindexed: counter!("affinity_partition_unindexed_total", &labels),
            effects_dropped: counter!("affinity_partition_effects_dropped_total", &labels),
            effects_astray: counter!("affinity_partition_effects_astray_total", &labels),
            repairs: counter!("affinity_partition_repairs_total", &labels),
            expired: counter!("affinity_partition_expired_total", &labels),
            sagas_stuck: counter!("affinity_partition_sagas_stuck_total", &labels),
        }
    }

    /// A phase has begun.
    pub(super) fn phase(&self, to: &'static str, cause: &'static str) {
        let mut labels = self.labels.to_vec();
        labels.extend([("to", to.to_owned()), ("cause", cause.to_owned())]);
        counter!("affinity_partition_phases_total", &labels).increment(1);
    }
}
